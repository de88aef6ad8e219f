"""From a declaration to an engine. Each kind is imported at its first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from codec_agents.engines.base import Engine
from codec_agents.engines.options import CONNECTION, OPTIONS, SCRIPTED, read_options
from codec_agents.references.engine_kinds import ENTRY_POINTS, is_installed_kind
from codec_agents.references.signatures import signature_of

if TYPE_CHECKING:
    from codec_agents.engines.http.clients import HttpClient


def make_engine(
    kind: str,
    *,
    name: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    format: str | None = None,  # noqa: A002 - the protocol's own word
    compression: bool | None = None,
    script: Any = None,
    ids_a_second: float | None = None,
    ids_a_frame: int | tuple[int, int] = 1,
    first_id_after: float | None = None,
    seed: int = 0,
    client: HttpClient | None = None,
    options: Mapping[str, Any] | None = None,
    secrets: Iterable[str] = (),
) -> Engine:
    """Return an engine of a kind.

    The kind is one of `KINDS`, or one that an installed package adds by an entry point. `script` and the
    parameters after it are for the first two of `KINDS`: a function, a list of rules, or the text of every
    answer, and its pace. `format` and `compression` are for engines that may speak Codec. `options` are those
    of `codec_agents.engines.options`. An engine over HTTP keeps `secrets` out of its messages.

    Raises:
        ValueError: there is no such kind, or it does not know what is given, or not such a value.
        ScriptError: the script is none.
    """
    # A value that is the default counts as not given: kinds that do not know the argument accept it.
    given = {
        "url": url, "api_key": api_key, "headers": headers or None, "client": client,
        "format": format, "compression": compression,
        "script": script, "ids_a_second": ids_a_second, "first_id_after": first_id_after,
        "ids_a_frame": None if ids_a_frame == 1 else ids_a_frame, "seed": seed or None,
    }  # fmt: skip
    if kind not in KINDS and not is_installed_kind(kind):
        raise ValueError(f"there is no engine kind {kind!r}; the kinds are {', '.join(KINDS)}")
    _require_known(kind, [argument for argument, value in given.items() if value is not None])
    known = {**_wire(format, compression), **read_options(kind, options or {})}
    if kind in _LOCAL:
        model_options, engine_options = _divided(known, SCRIPTED)
        model = _model(script, ids_a_second, ids_a_frame, first_id_after, seed, model_options)
        return _made(kind, model, name=name or kind, **engine_options)
    if url is None:
        raise ValueError(f"an engine of kind {kind} needs a url")
    from codec_agents.engines.http.settings import HttpSettings

    of_connection, arguments = _divided(known, CONNECTION)
    mode = arguments.pop("logprob_mode", None)
    settings = HttpSettings(
        api_key=api_key, headers=dict(headers or {}), secrets=tuple(secrets), **of_connection
    )
    engine = _made(kind, url, name=name or kind, client=client, settings=settings, **arguments)
    if mode is not None:  # kinds have it as an attribute of their class, and no argument for it
        engine.logprob_mode = mode  # type: ignore[attr-defined] # every kind with the option has it
    return engine


def _require_known(kind: str, given: list[str]) -> None:
    alike = kind if kind in KINDS else _REMOTE[0]  # a kind of another package is a server behind a URL
    unknown = [argument for argument in given if alike not in _TAKEN_BY.get(argument, KINDS)]
    if unknown:
        raise ValueError(f"an engine of kind {kind} does not take {', '.join(unknown)}")


def _model(
    script: Any,
    ids_a_second: float | None,
    ids_a_frame: int | tuple[int, int],
    first_id_after: float | None,
    seed: int,
    options: dict[str, Any],
) -> Any:
    from codec_agents.engines.scripted.engine import ScriptedModel
    from codec_agents.engines.scripted.rules import rules_or_script

    return ScriptedModel(
        script=rules_or_script(script),
        ids_a_second=ids_a_second,
        ids_a_frame=ids_a_frame,
        first_id_after=first_id_after or 0.0,
        seed=seed,
        **options,
    )


def _wire(format: str | None, compression: bool | None) -> dict[str, Any]:  # noqa: A002
    arguments: dict[str, Any] = {} if format is None else {"format": format}
    if compression:
        from codec_core.compression import accept_encoding

        arguments["encodings"] = accept_encoding().split(", ")  # what is installed can be read
    return arguments


def _divided(options: Mapping[str, Any], names: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of these names, and the others."""
    named = {key: value for key, value in options.items() if key in names}
    return named, {key: value for key, value in options.items() if key not in named}


def _made(kind: str, source: Any, **arguments: Any) -> Engine:
    make = _class_of(kind)
    # Looked at before the call, whose own `TypeError` would look the same. The kinds here have typed options.
    if kind not in KINDS:
        try:
            signature_of(make).bind(source, **arguments)
        except TypeError as error:
            raise ValueError(f"the engine of kind {kind!r} cannot be made so: {error}") from None
    return make(source, **arguments)


def _class_of(kind: str) -> Callable[..., Engine]:
    """Return the class of a kind: one of this layer, or one that an installed package adds.

    Raises:
        ValueError: no package that is installed has it.
    """
    if kind in _CLASSES:  # `embedded` is of a layer above, and comes by an entry point as well
        module, _, name = _CLASSES[kind].partition(":")
        found: Callable[..., Engine] = getattr(import_module(module), name)
        return found
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        loaded: Callable[..., Engine] = entry.load()
        return loaded
    raise ValueError(
        f"no installed package offers an engine of kind {kind!r} as an entry point {ENTRY_POINTS!r}; "
        "install the package again, since entry points are read from what is installed"
    )


_LOCAL = ("scripted", "embedded")

_CLASSES = {
    "scripted": "codec_agents.engines.scripted.engine:ScriptedEngine",
    "codec": "codec_agents.engines.codec:CodecEngine",
    "vllm": "codec_agents.engines.vllm:VllmEngine",
    "sglang": "codec_agents.engines.sglang:SglangEngine",
    "llamacpp": "codec_agents.engines.llamacpp:LlamaCppEngine",
    "openai": "codec_agents.engines.openai:OpenAIEngine",
    "auto": "codec_agents.engines.auto:AutoEngine",
}
"""The class of each kind of this layer; imported at its first use."""

KINDS = tuple(OPTIONS)

_REMOTE = tuple(kind for kind in KINDS if kind not in _LOCAL)

_TAKEN_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("url", "api_key", "headers", "client"), _REMOTE),
    **dict.fromkeys(("script", "ids_a_second", "ids_a_frame", "first_id_after", "seed"), _LOCAL),
    **dict.fromkeys(("format", "compression"), ("embedded", "codec", "auto")),
}
"""What only some kinds take."""
