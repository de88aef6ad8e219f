"""`codec-agents serve`: a Codec server on this machine, whose model is a script."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli.exits import reporting

if TYPE_CHECKING:
    from codec_agents.server import ServerSettings


@click.command("serve")
@click.option(
    "--script",
    required=True,
    metavar="MODULE:NAME | RULES.yaml | TEXT",
    help="What the model says: a function of a module in this folder, a file of rules, or one answer.",
)
@click.option("--map", "map_name", default="demo/bytes", show_default=True, help="A bundled map, or a file.")
@click.option("--model", default="scripted", show_default=True, help="The name that requests use.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--ids-a-second", type=click.FloatRange(min=0, min_open=True), help="The pace; unbounded if not given."
)
@click.option("--ids-a-frame", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--api-key-env", metavar="NAME", help="Ask requests for the key in this environment variable.")
@reporting
def command(
    script: str,
    map_name: str,
    model: str,
    host: str,
    port: int,
    ids_a_second: float | None,
    ids_a_frame: int,
    api_key_env: str | None,
) -> None:
    """Serve a scripted model over HTTP: Codec frames, and OpenAI's API beside them.

    Try it with: curl localhost:8000/v1/completions -d '{"prompt": "hello", "max_tokens": 40}'
    """
    from codec_agents.server import ScriptedBackend, create_app, serve

    document = _map_bytes(map_name)
    from codec_core.maps import parse_map

    tokenizer_map = parse_map(document)
    pace: dict[str, Any] = {"ids_a_second": ids_a_second, "ids_a_frame": ids_a_frame}
    backend = ScriptedBackend.of(tokenizer_map, _script(script), model, **pace)
    click.echo(f"serving {model} ({tokenizer_map.id}) on http://{host}:{port}", err=True)
    maps = {tokenizer_map.id: document}
    # uvicorn raises the signal again after it has ended what ran: for a server that is the usual end.
    with contextlib.suppress(KeyboardInterrupt):
        serve(create_app(backend, _settings(api_key_env), maps=maps), host, port)


def _map_bytes(name: str) -> bytes:
    from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map_bytes

    if name in BUNDLED_MAPS:
        return bundled_map_bytes(name)
    path = Path(name)
    if not path.is_file():
        known = ", ".join(BUNDLED_MAPS)
        raise click.BadParameter(
            f"{name!r} is no file and no bundled map ({known}); fetch one with `codec-agents maps get`",
            param_hint="--map",
        )
    return path.read_bytes()


def _script(text: str) -> Any:
    from codec_agents.engines.rules import rules_or_script
    from codec_agents.imports import Importer, is_reference

    if is_reference(text):
        return Importer(Path.cwd()).resolve(text)
    if text.endswith((".yaml", ".yml", ".json")):
        import yaml

        return rules_or_script(yaml.safe_load(Path(text).read_text("utf-8")))
    return rules_or_script(text)


def _settings(api_key_env: str | None) -> ServerSettings:
    import os

    from codec_agents.exceptions import SecretMissingError
    from codec_agents.server import ServerSettings

    if api_key_env is None:
        return ServerSettings()
    if not (key := os.environ.get(api_key_env)):
        raise SecretMissingError(api_key_env)
    return ServerSettings(api_keys=(key,))
