"""The options of each kind of engine beside its address: their names and the types of their values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from codec_agents.engines.values import LogprobMode
from codec_core.exceptions import CONVERSION_ERRORS

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Encoding = Literal["zstd", "br", "gzip"]
Table = Mapping[str, Any]
"""Types, by the names of options."""

SCRIPTED: Table = {"seconds_a_prompt_id": Seconds, "prefix_cache": bool}

CONNECTION: Table = {
    "proxy": str,
    "verify": bool | str,
    "max_connections": Annotated[int, msgspec.Meta(ge=1)],
    "keep_alive": bool,
    "transport": Literal["auto", "httpx", "aiohttp"],
}
"""Fields of `HttpSettings`; key and headers are declared elsewhere, where secrets are looked after."""

WIRE: Table = {"encodings": tuple[Encoding, ...], "format": str}

CODEC: Table = {
    **WIRE,
    "requests": Literal["auto", "json", "binary"],
    "dictionaries": dict[str, bytes],
}

VALUES: Table = {"logprob_mode": LogprobMode}
"""For a server that is started so that it computes log probabilities otherwise than its kind does."""

STOCK: Table = {**VALUES, "handshake": bool | Literal["off", "probe", "full"]}

OPTIONS: Mapping[str, Table] = {
    "scripted": SCRIPTED,
    "embedded": {**SCRIPTED, **CODEC},
    "codec": {**CODEC, **CONNECTION, **VALUES},
    "vllm": {**STOCK, **CONNECTION, "api": Literal["auto", "generate", "completions"]},
    "sglang": {**STOCK, **CONNECTION, "api": Literal["auto", "generate", "completions"]},
    "llamacpp": {**STOCK, **CONNECTION, "lost_ids": Literal["ask", "error", "no_stream"]},
    "openai": {**CONNECTION, "api": Literal["chat", "completions"]},
    "auto": {**STOCK, **WIRE, **CONNECTION},
}
"""By kind."""


def read_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an engine, each of the type that its class takes.

    Options of a kind that another package adds are returned unchanged, except those of the connection.

    Raises:
        ValueError: the kind does not know an option, or a value is none.
    """
    own = kind not in OPTIONS  # its class checks what it takes
    known = {**dict.fromkeys(options, Any), **CONNECTION} if own else OPTIONS[kind]
    for name in options:
        if name not in known:
            raise ValueError(
                f"an engine of kind {kind} does not know the option {name!r}; it knows {', '.join(known)}"
            )
    return {name: _read(name, value, known[name]) for name, value in options.items()}


def _read(name: str, value: Any, kind: Any) -> Any:
    try:
        read = msgspec.convert(value, kind)
    except CONVERSION_ERRORS as error:
        choices = f"; one of {', '.join(get_args(kind))}" if get_origin(kind) is Literal else ""
        raise ValueError(f"the option {name!r}: {error}{choices}") from None
    # A missing file would be an error of OpenSSL at the first request, without its name.
    if name == "verify" and isinstance(read, str) and not Path(read).is_file():
        raise ValueError(f"the option 'verify': there is no file of certificates {read!r}")
    return read
