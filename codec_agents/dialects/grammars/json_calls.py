"""Calls written as JSON: one object, a list, or several objects one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from codec_agents.dialects.grammars.base import FoundCall, Payload, PayloadError, as_arguments, unfenced
from codec_agents.strict_json import unique_names

# Cohere's models write `tool_name`, `parameters` and `tool_call_id`, those of Llama `parameters`.
_NAME_KEYS = ("name", "tool_name")
_ARGUMENT_KEYS = ("arguments", "parameters")
_ID_KEYS = ("id", "tool_call_id", "call_id")
# Llama's models separate calls by semicolons, and those of Phi-4-mini begin each list of them so.
_BETWEEN = re.compile(r"[\s;,]*(?:functools(?=\[))?")
_PREFIX = re.compile(r"\s*(?:functools)?\s*")  # Phi-4-mini's models begin so without control tokens
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=unique_names)


def read_json(payload: Payload) -> list[FoundCall]:
    """Return the calls of a JSON payload.

    Raises:
        PayloadError: no JSON, or JSON that is no call.
    """
    return [call for value in load_values(unfenced(payload.text)) for call in _calls(value)]


def read_keyed_json(payload: Payload) -> list[FoundCall]:
    """Return the calls of JSON objects that each have the name of a tool as their one key.

    Raises:
        PayloadError: no JSON, or JSON that is no call.
    """
    found = []
    for item in _objects(load_values(unfenced(payload.text))):
        if not isinstance(item, dict) or len(item) != 1:
            raise PayloadError('a call must have the form {"name": {...}}')
        ((name, arguments),) = item.items()
        try:
            found.append(FoundCall(name, as_arguments(arguments, name)))
        except PayloadError as error:  # of this call alone: others of a list may run
            found.append(FoundCall(name, None, None, str(error)))
    return found


def load_values(text: str) -> list[Any]:
    """Return the JSON values of a text, one after the other.

    Raises:
        PayloadError: there is none, or other text is between them.
    """
    values: list[Any] = []
    place = _end_of(_PREFIX, text, 0)
    while place < len(text) or not values:  # without a value the decoder says what is wrong
        try:
            value, place = _DECODER.raw_decode(text, place)
        except RecursionError:
            raise PayloadError("the call is nested too deeply") from None
        except ValueError as error:
            raise PayloadError(f"the call is not valid JSON: {error}", name_in(text)) from None
        values.append(value)
        place = _end_of(_BETWEEN, text, place)
    return values


def name_in(text: str) -> str:
    """Return the tool that broken JSON names, or "", so that the model can be told which call was broken."""
    # At most 200 characters: more are no name, and would be told to the model as one.
    match = re.search(r'"(?:tool_)?name"\s*:\s*"([^"\\]{1,200})"', text)
    return match[1] if match else ""


def _end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def _calls(value: Any) -> list[FoundCall]:
    return [_call(item) for item in _objects([value])]


def _objects(values: list[Any]) -> Iterator[Any]:
    """Yield what the values and the lists in them hold."""
    left = values[::-1]
    while left:  # no recursion: the JSON reader accepts lists nested deeper than Python calls can go
        item = left.pop()
        if isinstance(item, list):
            left += reversed(item)
        else:
            yield item


def _call(value: Any) -> FoundCall:
    if not isinstance(value, dict):
        raise PayloadError(f"a call must be a JSON object, not {type(value).__name__}")
    places = [value]
    if isinstance(value.get("function"), dict):  # the chat API's form, in which the prompt tells the tools
        places.insert(0, value["function"])
    name = _said(places, _NAME_KEYS, "the name")
    if not isinstance(name, str) or not name:
        raise PayloadError('a call must have a "name"')
    call_id = next((place[key] for place in places for key in _ID_KEYS if key in place), None)
    # Models write texts and numbers; any other value is none, and may be too deep to be written.
    said_id = str(call_id) if isinstance(call_id, str | int | float) else None
    try:
        arguments = as_arguments(_said(places, _ARGUMENT_KEYS, "the arguments"), name)
    except PayloadError as error:  # of this call alone: others of a list may run
        return FoundCall(name, None, said_id, str(error))
    return FoundCall(name, arguments, said_id)


def _said(places: list[dict[str, Any]], keys: tuple[str, ...], what: str) -> Any:
    """Return what a call says under one of several keys; None where it says nothing.

    Raises:
        PayloadError: it says two things.
    """
    found = [place[key] for place in places for key in keys if place.get(key) is not None]
    if len(found) < 2:
        return found[0] if found else None
    try:
        # As texts: true and 1 are equal in Python.
        texts = {json.dumps(each, sort_keys=True) for each in found}
    except RecursionError:
        raise PayloadError("the call is nested too deeply") from None
    if len(texts) > 1:
        raise PayloadError(f"the call gives {what} twice, and differently")
    return found[0]
