"""Calls in elements whose tags are a name and attributes between control tokens (Kimi K3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from codec_agents.dialects.grammars.base import FoundCall, Payload, PayloadError, as_arguments, load_json
from codec_agents.dialects.values import Marked, Segment
from codec_agents.strict_json import unique_names

OPEN, CLOSE, SEPARATOR = "<|open|>", "<|close|>", "<|sep|>"
_ATTRIBUTE = re.compile(r'(?<![\w-])([\w-]+)="([^"]*)"')
"""Looked for where a word begins: from each of its letters, a long word would take quadratic time."""


def read_channels(payload: Payload) -> list[FoundCall]:
    """Read `call` elements with `argument` elements in them; an argument says the JSON type of its value.

    Raises:
        PayloadError: an element is not closed, other text is between them, a key is missing or given twice,
            or there is no call.
    """
    calls: list[FoundCall] = []
    name, arguments = "", dict[str, Any]()
    for kind, attributes, text in _elements(payload):
        if kind == "call":
            name, arguments = attributes.get("tool", ""), {}
            calls.append(FoundCall(name, arguments))  # the parts that follow fill it
            continue
        if kind == "json":
            added = as_arguments(text, name)
        elif "key" not in attributes:
            raise PayloadError('an argument must have the form argument key="name"', name)
        else:
            added = {attributes["key"]: _value(text, attributes, name)}
        if arguments.keys() & added.keys():
            raise PayloadError("a key is given twice", name, closed=False)
        arguments |= added
    if not calls or not all(call.name for call in calls):
        raise PayloadError(f'a call must have the form {OPEN}call tool="name" index="1"{SEPARATOR}')
    return calls


def _value(text: str, attributes: dict[str, str], name: str) -> Any:
    if attributes.get("type", "string") == "string":
        return text
    return load_json(text, f"the value of {attributes['key']}", name)


def _elements(payload: Payload) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield the calls and their parts in order: the kind, the attributes, and the text of a part."""
    inside = False
    for part in payload.split(OPEN)[1:]:  # what is before the first tag is no part of a call
        head, *rest = Payload(part).split(SEPARATOR)
        kind, _, said = _text(head).partition(" ")
        try:
            attributes = unique_names([(key, _unescaped(value)) for key, value in _ATTRIBUTE.findall(said)])
        except ValueError as error:
            raise PayloadError(f"{kind}: {error}") from None
        if kind == "call":
            if inside:
                raise PayloadError("a call was not closed", closed=False)
            inside, text = True, ""
        elif kind in ("argument", "json") and rest:
            if not inside:
                raise PayloadError("an argument must be inside a call")
            text, rest = _text_of_part(kind, rest), rest[1:]
        else:
            raise PayloadError(f"{kind!r} is no part of a call")
        yield kind, attributes, text
        # The end of a call has no opening of its own: it is behind the last part, in the same piece.
        if behind := SEPARATOR.join(map(_text, rest)).strip():
            if behind.removesuffix(SEPARATOR) != f"{CLOSE}call":
                # A tag inside a value also looks like this: what was read may be a part of the value.
                raise PayloadError("other text is between the parts of a call", closed=False)
            inside = False
    if inside:
        raise PayloadError("a call was not closed", closed=False)


def _text_of_part(kind: str, pieces: list[list[Segment]]) -> str:
    """Return the text of a part from the pieces behind its tag, the first of which ends with its end."""
    text, *end = Payload(pieces[0]).split(CLOSE)
    if [_text(each) for each in end] != [kind]:
        raise PayloadError(f"{kind} was not closed", closed=False)
    return _text(text)


def _text(segments: list[Segment]) -> str:
    return "".join(part.name if isinstance(part, Marked) else part for part in segments)


def _unescaped(value: str) -> str:
    return value.replace("&quot;", '"').replace("&amp;", "&")
