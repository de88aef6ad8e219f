"""`codec-agents gateway`: exact conversations for clients of chat APIs, in front of an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import ExistingPath
from codec_agents.cli.serving import address_of, bound, require_server, secret
from codec_agents.cli.yaml_files import yaml_of

if TYPE_CHECKING:
    from codec_agents.server import Gateway
    from codec_agents.server.gateway.store import Store

KINDS = ("auto", "vllm", "sglang", "llamacpp", "codec")
MODES = ("raw", "temperature", "processed")
"""As `codec_agents.engines.values.LogprobMode`, which would load the engines for a page of help."""

WITH_SESSIONS = frozenset({"vllm", "sglang", "codec"})
"""Kinds of engines whose requests have a place for the name of a session."""

FILTERS = ("claude-code-cch",)
MiB = 1024 * 1024
SECTION = "gateway"


def read_section(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Take the options of a file's section as defaults: those of the command line win."""
    if path is None:
        return None
    document = yaml_of(path)
    section = document.get(SECTION) if isinstance(document, dict) else None
    if not isinstance(section, dict):
        raise click.BadParameter(f"{path} has no section `{SECTION}:`")
    options = [each for each in context.command.params if isinstance(each, click.Option)]
    # By the first spelling: of `--affinity/--no-affinity` a file has the positive one.
    known = {each.opts[0].removeprefix("--"): each for each in options}
    if unknown := sorted(str(name) for name in section if name not in known):
        raise click.BadParameter(
            f"{path}: `{SECTION}:` has the unknown fields {', '.join(unknown)}; there are "
            f"{', '.join(sorted(known))}"
        )
    given = {
        known[name].name: _as_words(known[name], value, f"{path}: `{name}:`")
        for name, value in section.items()
    }
    context.default_map = {**(context.default_map or {}), **given}
    return path


def _as_words(option: click.Option, value: Any, place: str) -> Any:
    """Return a value of a file as the command line would give it, since click converts no other kinds."""
    if value is None:
        return None
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.BadParameter(f"{place} is true or false, not {value!r}")
        return value
    values = value if option.multiple and isinstance(value, list) else [value]
    # A boolean is a whole number in Python: `port: true` would be port 1.
    if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in values):
        some = ", or a list of them" if option.multiple else ""
        raise click.BadParameter(f"{place} takes a text or a number{some}, not {value!r:.100}")
    return [str(each) for each in values] if option.multiple else str(value)


@click.command(SECTION, short_help="Serve exact conversations to clients of chat APIs.")
@click.argument(
    "file",
    required=False,
    is_eager=True,
    callback=read_section,
    type=ExistingPath(),
)
@click.option("--engine", metavar="URL", required=True, help="The inference server.")
@click.option(
    "--kind", type=click.Choice(KINDS), default="auto", show_default=True, help="What listens there."
)
@click.option(
    "--map",
    "map_name",
    metavar="NAME",
    required=True,
    help="The model's map: by its id, a map, its tokenizer file or folder, or hf:ORG/MODEL.",
)
@click.option("--dialect", metavar="NAME", help="The model family, where the map does not tell it.")
@click.option("--model", default="default", show_default=True, help="The name that clients use.")
@click.option(
    "--engine-model", metavar="NAME", help="What the engine calls the model.  [default: as --model]"
)
@click.option("--engine-key-env", metavar="NAME", help="The variable that holds the engine's key.")
@click.option(
    "--store", type=click.Path(dir_okay=False, path_type=Path), help="Keep conversations in this SQLite file."
)
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the record of each conversation into this folder.",
)
@click.option(
    "--record-logprobs",
    is_flag=True,
    help="Ask the engine for the log probability of each id, for the records.",
)
@click.option(
    "--logprob-mode",
    type=click.Choice(MODES),
    help="What the engine computes them from.  [default: as servers of its kind do]",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="MiB of conversations in memory.",
)
@click.option(
    "--reasoning",
    type=click.Choice(["family", "all", "tool_cycle", "template"]),
    default="family",
    show_default=True,
    help="Which reasoning of earlier turns stays in a prompt.",
)
@click.option(
    "--unsent-reasoning",
    type=click.Choice(["restore", "follow"]),
    default="restore",
    show_default=True,
    help="Reasoning that a client does not send back: keep it, or leave it out.",
)
@click.option(
    "--affinity/--no-affinity",
    default=None,
    help="Tell the engine the conversation.  [default: on for vllm, sglang and codec]",
)
@click.option("--cache-salt", is_flag=True, help="Keep the prefix caches of clients apart.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    type=click.Choice(FILTERS),
    help="Take out of system texts what a client changes with each request.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--api-key-env",
    multiple=True,
    metavar="NAME",
    help="Ask requests for a key in these environment variables; each key has conversations of its own.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further name that `Host` may have.")
@click.option("--allow-origin", multiple=True, metavar="URL", help="The origin of a web page that may ask.")
@reporting
def command(
    file: Path | None,  # noqa: ARG001 - its section has become the options' defaults
    host: str,
    port: int,
    api_key_env: tuple[str, ...],
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve exact conversations to clients of chat APIs: OpenAI's chats and Responses, Anthropic's Messages.

    Clients send the whole history as text with each request. The gateway finds the turns that it has seen,
    and gives the engine exactly the ids of before, with what is new behind them. The header x-codec-lineage
    tells how each prompt came about.

    The options may also be in the section `gateway:` of FILE, a YAML file.

    Try it with: curl -i localhost:8080/v1/responses --json '{"input": "Hi"}'
    """
    from codec_agents.server import ServerSettings, serve

    settings = ServerSettings(
        api_keys=tuple(map(secret, api_key_env)), allowed_hosts=allow_host, allowed_origins=allow_origin
    )
    require_server(host, settings)
    gateway = _gateway(settings, options)
    sockets = bound(host, port)
    served = gateway.backend.models[0]
    place = address_of(host, sockets)
    terminal.echo(f"gateway for {served.name} ({served.vocabulary.id}) on {place}", err=True)
    # uvicorn raises the signal again after it has ended what ran: for a server that is the usual end.
    with contextlib.suppress(KeyboardInterrupt):
        serve(gateway, host, port, sockets=sockets)


def _gateway(settings: Any, options: Mapping[str, Any]) -> Gateway:
    from codec_agents.cli.engine_urls import engine_at
    from codec_agents.cli.map_sources import named_map
    from codec_agents.server import Affinity, Gateway, ReasoningRules

    if options["record_logprobs"] and options["record"] is None:
        raise click.UsageError("--record-logprobs needs --record")
    kind, key_env = options["kind"], options["engine_key_env"]
    key = None if key_env is None else secret(key_env)
    mode = options["logprob_mode"]
    of_kind = {} if mode is None else {"logprob_mode": mode}
    engine = engine_at(options["engine"], kind, options["model"], key, param_hint="--engine", options=of_kind)
    # If left out, it is on for engines whose requests have a place for a session.
    sessions = kind in WITH_SESSIONS if options["affinity"] is None else options["affinity"]
    kept = options["reasoning"]
    return Gateway(
        engine,
        named_map(options["map_name"], param_hint="--map"),
        options["model"],
        model=options["engine_model"],
        dialect=options["dialect"],
        store=_store(options["store"], options["memory"] * MiB),
        # None leaves it to the model's family.
        rules=ReasoningRules(kept=None if kept == "family" else kept, unsent=options["unsent_reasoning"]),
        filters=options["filters"],
        affinity=Affinity(sessions=sessions, salts=options["cache_salt"]),
        record=options["record"],
        record_logprobs=options["record_logprobs"],
        settings=settings,
    )


def _store(path: Path | None, memory: int) -> Store:
    from codec_agents.server import MemoryStore, SqliteStore

    bounded = MemoryStore(max_bytes=memory)
    return bounded if path is None else SqliteStore(path, bounded)
