"""From a declaration to an engine. Each kind is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from codec_agents.engines.base import Engine

if TYPE_CHECKING:
    from codec_agents.engines.transport import HttpClient, HttpSettings


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
) -> Engine:
    """Return an engine of a kind; what the kind does not know is left out.

    The kind is one of `KINDS`. `script` is for the first two of them: a function, a list of rules, or the
    text of every answer. `options` are further arguments of the engine's class, and fields of `HttpSettings`.

    Raises:
        ValueError: there is no such kind, or it does not know an option.
        ScriptError: the script is none.
    """
    if kind in ("scripted", "embedded"):
        from codec_agents.engines.rules import rules_or_script
        from codec_agents.engines.scripted import ScriptedModel

        options = dict(options or {})
        model = ScriptedModel(
            script=rules_or_script(script),
            ids_a_second=ids_a_second,
            ids_a_frame=ids_a_frame,
            first_id_after=first_id_after or 0.0,
            seed=seed,
            **{key: options.pop(key) for key in ("seconds_a_prompt_id", "prefix_cache") if key in options},
        )
        return _local(kind, model, name or kind, {**_wire(format, compression), **options})
    if kind not in _REMOTE:
        raise ValueError(f"no engine is of kind {kind!r}; there are {', '.join(KINDS)}")
    if url is None:
        raise ValueError(f"an engine of kind {kind} needs a url")
    arguments, settings = _settings(api_key, headers, options or {})
    if kind in ("codec", "auto"):
        arguments = {**_wire(format, compression), **arguments}
    try:
        return _class_of(kind)(url, name=name or kind, client=client, settings=settings, **arguments)
    except TypeError as error:
        raise ValueError(f"an engine of kind {kind} does not know an option: {error}") from error


def _local(kind: str, model: Any, name: str, options: dict[str, Any]) -> Engine:
    if kind == "embedded":
        from codec_agents.engines.embedded import EmbeddedEngine

        return EmbeddedEngine(model, name=name, **options)
    from codec_agents.engines.scripted import ScriptedEngine

    return ScriptedEngine(model, name=name)


def _wire(format: str | None, compression: bool | None) -> dict[str, Any]:  # noqa: A002
    arguments: dict[str, Any] = {} if format is None else {"format": format}
    return arguments | ({"encodings": ("br", "gzip")} if compression else {})


def _settings(
    api_key: str | None, headers: Mapping[str, str] | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], HttpSettings]:
    """Tell the options of the connection from those of the engine."""
    from codec_agents.engines.transport import HttpSettings

    of_connection = {key: options[key] for key in HttpSettings.__struct_fields__ if key in options}
    arguments = {key: value for key, value in options.items() if key not in of_connection}
    merged = {"api_key": api_key, "headers": dict(headers or {}), **of_connection}
    return arguments, HttpSettings(**merged)


_REMOTE = {
    "codec": "codec:CodecEngine",
    "vllm": "vllm:VllmEngine",
    "sglang": "sglang:SglangEngine",
    "llamacpp": "llamacpp:LlamaCppEngine",
    "openai": "openai:OpenAIEngine",
    "auto": "auto:AutoEngine",
}
"""Where the class of each kind stands; imported when it is first asked for."""

KINDS = ("scripted", "embedded", *_REMOTE)


def _class_of(kind: str) -> Callable[..., Engine]:
    module, _, name = _REMOTE[kind].partition(":")
    found: Callable[..., Engine] = getattr(import_module(f"codec_agents.engines.{module}"), name)
    return found
