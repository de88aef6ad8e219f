"""`codec-agents serve`: a Codec server on this machine, with OpenAI's API beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import PIPELINE, Number, load
from codec_agents.cli.serving import address_of, bound, require_server, secret
from codec_agents.cli.yaml_files import yaml_of

if TYPE_CHECKING:
    from codec_agents.server import Backend

ENGINES = ("auto", "vllm", "sglang", "llamacpp", "codec")


@click.command("serve", short_help="Serve a model or a pipeline over HTTP.")
@click.argument("file", required=False, type=PIPELINE)
@click.option(
    "--script",
    metavar="MODULE:NAME | RULES.yaml | TEXT",
    help="A script: a function of a module in this folder, a file of rules, or one answer.",
)
@click.option("--transformers", metavar="FOLDER", help="A causal model, from a folder or by its hub name.")
@click.option("--bridge", metavar="URL", help="A stock engine: its ids pass, no text is made.")
@click.option(
    "--engine", type=click.Choice(ENGINES), help="With --bridge: what listens there.  [default: auto]"
)
@click.option("--engine-model", metavar="NAME", help="With --bridge: what the engine calls the model.")
@click.option("--engine-key-env", metavar="NAME", help="With --bridge: the variable that holds its key.")
@click.option("--device", help="With --transformers: where the model runs.  [default: cpu]")
@click.option("--streams", type=click.IntRange(min=1), help="With --transformers: generations at once.")
@click.option("--input", "input_name", metavar="NAME", help="With FILE: the input that gets the prompt.")
@click.option("--sink", metavar="NAME", help="With FILE: the sink whose ids are the answer.")
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With FILE: keep conversations in this SQLite file.",
)
@click.option("--ids-a-second", type=Number(min=0, min_open=True), help="With --script: the pace.")
@click.option("--ids-a-frame", type=click.IntRange(min=1), help="With --script: how ids are cut.")
@click.option(
    "--map",
    "map_name",
    help="The model's map: by its id, a map, its tokenizer file or folder, or hf:ORG/MODEL.",
)
@click.option("--model", help="The name that requests use.")
@click.option("--dialect", metavar="NAME", help="The form of chats; told from the map when left out.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--api-key-env", metavar="NAME", help="Ask requests for the key in this environment variable.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name that `Host` may have besides localhost and the server's address; `*` for any.",
)
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="URL", help="The origin of a web page that may ask."
)
@reporting
def command(
    file: Path | None,
    host: str,
    port: int,
    model: str | None,
    dialect: str | None,
    api_key_env: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve a model over HTTP: Codec frames, and OpenAI's API beside them.

    The model is the pipeline in FILE, a script, a model in this process, or a stock engine behind a bridge.

    An address that others can reach needs --api-key-env.

    Try it with: curl localhost:8000/v1/completions --json '{"prompt": "hello", "max_tokens": 40}'
    """
    from codec_agents.server import ServerSettings, create_app, serve
    from codec_agents.server.backends.chosen_dialect import with_dialect

    given = {name: value for name, value in options.items() if value is not None}
    keys = () if api_key_env is None else (secret(api_key_env),)
    settings = ServerSettings(api_keys=keys, allowed_hosts=hosts, allowed_origins=origins)
    require_server(host, settings)
    backend, maps = _backend(file, model, given)
    if dialect is not None:
        backend = with_dialect(backend, dialect)
    served = backend.models[0]
    app = create_app(backend, settings, maps=maps)
    sockets = bound(host, port)
    place = address_of(host, sockets)
    terminal.echo(f"serving {served.name} ({served.vocabulary.id}) on {place}", err=True)
    # uvicorn raises the signal again after it has ended what ran: for a server that is the usual end.
    with contextlib.suppress(KeyboardInterrupt):
        serve(app, host, port, sockets=sockets)


Made = tuple["Backend", Mapping[str, bytes]]
"""A back end, and the maps to publish, by id."""

OPTIONS: Mapping[str, frozenset[str]] = {
    "FILE": frozenset({"input_name", "sink", "store"}),
    "script": frozenset({"map_name", "ids_a_second", "ids_a_frame"}),
    "transformers": frozenset({"map_name", "device", "streams"}),
    "bridge": frozenset({"map_name", "engine", "engine_model", "engine_key_env"}),
}
"""The options of each kind of model."""


def _backend(file: Path | None, model: str | None, given: dict[str, Any]) -> Made:
    kinds = ["FILE"] if file is not None else []
    kinds += [kind for kind in ("script", "transformers", "bridge") if kind in given]
    if len(kinds) != 1:
        raise click.UsageError("name one model: FILE, --script, --transformers or --bridge")
    for name in given:
        if name not in OPTIONS[kinds[0]] | {kinds[0]}:
            option = "--" + name.removesuffix("_name").replace("_", "-")
            raise click.UsageError(f"{option} is not an option of {kinds[0]}")
    if file is not None:
        return _pipeline(file, model, given)
    makers = {"script": _scripted, "transformers": _transformers, "bridge": _bridge}
    names = {"script": "scripted"}  # as `ScriptedBackend` names its model by default
    return makers[kinds[0]](model or names.get(kinds[0], kinds[0]), given)


def _pipeline(file: Path, model: str | None, given: dict[str, Any]) -> Made:
    from codec_agents.server import PipelineBackend

    pipeline = load(file)
    backend = PipelineBackend(
        pipeline, model, input=given.get("input_name"), sink=given.get("sink"), store=given.get("store")
    )
    return backend, _bundled(backend.vocabulary.id, backend.vocabulary.hash)


def _bundled(map_id: str, map_hash: str | None) -> Mapping[str, bytes]:
    """Return the document of a bundled map; other maps are published where they came from."""
    from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map, bundled_map_bytes

    if map_id in BUNDLED_MAPS and bundled_map(map_id).hash == map_hash:
        return {map_id: bundled_map_bytes(map_id)}
    return {}


def _scripted(model: str, given: dict[str, Any]) -> Made:
    from codec_agents.server import ScriptedBackend
    from codec_core.maps import parse_map

    document = _map_bytes(given.get("map_name", "demo/bytes"))
    tokenizer_map = parse_map(document)
    pace = {name: given[name] for name in ("ids_a_second", "ids_a_frame") if name in given}
    backend = ScriptedBackend.of(tokenizer_map, _script(given["script"]), model, **pace)
    return backend, {tokenizer_map.id: document}


def _transformers(model: str, given: dict[str, Any]) -> Made:
    from codec_agents.server.backends.transformers import TransformersBackend
    from codec_core.maps import parse_map

    document = _required_map(given)
    tokenizer_map = parse_map(document)
    settings = {name: given[name] for name in ("device", "streams") if name in given}
    backend = TransformersBackend(given["transformers"], tokenizer_map, model, **settings)
    return backend, {tokenizer_map.id: document}


def _bridge(model: str, given: dict[str, Any]) -> Made:
    from codec_agents.cli.engine_urls import engine_at
    from codec_agents.server import BridgeBackend
    from codec_core.maps import parse_map

    document = _required_map(given)
    tokenizer_map = parse_map(document)
    key = secret(given["engine_key_env"]) if "engine_key_env" in given else None
    engine = engine_at(given["bridge"], given.get("engine", "auto"), model, key, param_hint="--bridge")
    backend = BridgeBackend(engine, tokenizer_map, model, model=given.get("engine_model"))
    return backend, {tokenizer_map.id: document}


def _required_map(given: dict[str, Any]) -> bytes:
    if "map_name" not in given:
        raise click.UsageError("name the map of the model: --map FILE; `codec-agents maps build` makes one")
    return _map_bytes(given["map_name"])


def _map_bytes(name: str) -> bytes:
    from codec_agents.cli.map_sources import named_document

    return named_document(name, param_hint="--map")


def _script(text: str) -> Any:
    from codec_agents.engines.scripted.rules import rules_or_script
    from codec_agents.references.callables import Importer, is_reference

    if is_reference(text):
        return Importer(Path.cwd()).resolve(text)
    if text.endswith((".yaml", ".yml", ".json")):
        return rules_or_script(yaml_of(Path(text)))
    return rules_or_script(text)
