"""Gemma's own literals: bare keys, and strings between control tokens, in which nothing is escaped."""

from __future__ import annotations

import json
import re

from codec_agents.dialects.grammars.base import FoundCall, Payload, PayloadError, load_arguments

_CALL = re.compile(r"\s*(?:call)?:([\w.-]+)\s*(\{.*\})\s*", re.DOTALL)
"""Models of the family also leave out `call`."""
_KEY = re.compile(r"([{,]\s*)([A-Za-z_][\w.-]*)\s*:")
_NONE = re.compile(r"([\[,:]\s*)None(?=\s*[,\]}])")
"""The null of models that were trained on their template: it writes Python's."""


def read_gemma(payload: Payload) -> list[FoundCall]:
    """Read `call:NAME{key:<|"|>text<|"|>,n:42}`.

    Raises:
        PayloadError: it is no such call.
    """
    return _read(payload, '<|"|>')


def read_function_gemma(payload: Payload) -> list[FoundCall]:
    """Read `call:NAME{key:<escape>text<escape>,n:42}`.

    Raises:
        PayloadError: it is no such call.
    """
    return _read(payload, "<escape>")


def _read(payload: Payload, quote: str) -> list[FoundCall]:
    parts = payload.split(quote)
    if len(parts) % 2 == 0:
        raise PayloadError("a string was not closed")
    texts = ["".join(part if isinstance(part, str) else part.name for part in group) for group in parts]
    strings = [json.dumps(text) for text in texts[1::2]]
    # Strings are put in last: nothing in them can be taken for a key. NUL keeps their places, so that text
    # outside of strings, where none belongs, must have none of its own.
    match = _CALL.fullmatch("\x00".join(texts[0::2]))
    if match is None or "\x00" in "".join(texts[0::2]):
        raise PayloadError("a call must have the form call:name{key:value}")
    keyed = _NONE.sub(r"\1null", _KEY.sub(r'\1"\2":', match[2])).split("\x00")
    written = "".join(part + string for part, string in zip(keyed, [*strings, ""], strict=True))
    return [FoundCall(match[1], load_arguments(written, match[1]))]
