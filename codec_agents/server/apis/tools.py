"""The declarations of tools, which the APIs write nearly alike."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

from codec_agents.server.apis.request import OfferedTool
from codec_agents.server.http import HttpError


def read_tool(place: str, function: Any, schema: str) -> OfferedTool:
    """Return a declared function.

    Args:
        place: the field that holds it, for the error.
        function: the object with the function's name and description.
        schema: the API's name for the schema of the arguments.

    Raises:
        HttpError: 400, it has no name, or its schema is no object.
    """
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise HttpError(400, f"{place} is no function with a name", param="tools")
    if not isinstance(function.get(schema) or {}, dict):
        raise HttpError(400, f"{place}.{schema} must be a JSON schema", param="tools")
    check_schema(f"{place}.{schema}", function.get(schema) or {})
    return OfferedTool(function["name"], str(function.get("description") or ""), function.get(schema) or {})


LISTS = ("enum", "allOf", "anyOf", "oneOf")
"""Words of JSON Schema whose value is a list."""
SCHEMAS = ("properties", "$defs", "definitions")
"""Words whose value holds schemas by name."""


def check_schema(place: str, schema: Mapping[str, Any]) -> None:
    """Accept a schema whose words have values of the types that JSON Schema gives them.

    The arguments of calls are read by it. Words that the reading does not look at are not checked.

    Raises:
        HttpError: 400, naming the word.
    """
    left: list[Any] = [schema]
    while left:
        known = left.pop()
        if not isinstance(known, Mapping):
            continue
        for word in (*LISTS, *SCHEMAS, "type"):
            if word in known and not _fits(word, known[word]):
                raise HttpError(400, f"{place} is no JSON schema: its {word} has another type", param="tools")
        left += [each for word in LISTS[1:] for each in known.get(word, ())]
        left += [each for word in SCHEMAS for each in known.get(word, {}).values()]
        left += [known[word] for word in ("items", "additionalProperties") if word in known]


def _fits(word: str, value: Any) -> bool:
    if word == "type":
        types = value if isinstance(value, list) else [value]
        return all(isinstance(each, str) for each in types)
    return isinstance(value, list if word in LISTS else Mapping)


def check_count(values: Sized, limit: int, field: str) -> None:
    """Accept as many values as a field may hold.

    Raises:
        HttpError: 400, there are more.
    """
    if len(values) > limit:
        raise HttpError(400, f"there are {len(values)} {field}, the limit is {limit}", param=field)
