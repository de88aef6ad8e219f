"""Calls in elements whose tags are a name and attributes between control tokens (Kimi K3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from codec_agents.dialects.grammars.base import FoundCall, Payload, PayloadError, as_arguments, load_json
from codec_agents.dialects.values import Marked

OPEN, CLOSE, SEPARATOR = "<|open|>", "<|close|>", "<|sep|>"
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


def read_channels(payload: Payload) -> list[FoundCall]:
    """Read `call` elements with `argument` elements in them; an argument says the JSON type of its value.

    Raises:
        PayloadError: an element is not closed, or there is no call.
    """
    calls: list[FoundCall] = []
    name, arguments = "", dict[str, Any]()
    for kind, attributes, text in _elements(payload):
        if kind == "call":
            name, arguments = attributes.get("tool", ""), {}
            calls.append(FoundCall(name, arguments))
        elif not calls:
            raise PayloadError("an argument must be inside a call")
        elif kind == "json":
            arguments |= as_arguments(text, name)
        else:
            arguments[attributes.get("key", "")] = _value(text, attributes, name)
    if not calls or not all(call.name for call in calls):
        raise PayloadError(f'a call must have the form {OPEN}call tool="name" index="1"{SEPARATOR}')
    return calls


def _value(text: str, attributes: dict[str, str], name: str) -> Any:
    if attributes.get("type", "string") == "string":
        return text
    return load_json(text, f"the value of {attributes.get('key', '')}", name)


def _elements(payload: Payload) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield the calls and their parts in order: the kind, the attributes, and the text of a part."""
    inside: str | None = None
    for part in payload.split(OPEN)[1:]:
        head, *rest = Payload(part).split(SEPARATOR)
        kind, _, said = _text(head).partition(" ")
        attributes = {key: _unescaped(value) for key, value in _ATTRIBUTE.findall(said)}
        if kind == "call" and inside is not None:
            raise PayloadError("a call was not closed", closed=False)
        if kind == "call":
            inside = kind
            yield kind, attributes, ""
            closed = [_text(each) for each in rest]
        elif kind in ("argument", "json") and rest:
            content = Payload(rest[0]).split(CLOSE)
            if len(content) < 2 or _text(content[1]) != kind:
                raise PayloadError(f"{kind} was not closed", closed=False)
            yield kind, attributes, _text(content[0])
            closed = [_text(each) for each in rest]
        else:
            raise PayloadError(f"{kind!r} is no part of a call")
        # The end of a call has no opening of its own: it is behind the last part, in the same piece.
        if any(each.endswith(f"{CLOSE}call") for each in closed):
            inside = None
    if inside is not None:
        raise PayloadError("a call was not closed", closed=False)


def _text(segments: list[Any]) -> str:
    return "".join(part.name if isinstance(part, Marked) else part for part in segments)


def _unescaped(value: str) -> str:
    return value.replace("&quot;", '"').replace("&amp;", "&")
