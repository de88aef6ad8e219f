"""The words of a tool's JSON schema: whether their values have the types that JSON Schema gives them.

Prompts are written and arguments are read by these words. Schemas come from clients and MCP servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf")
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_SCHEMAS = ("items", "additionalProperties")


def schema_fault(schema: Any) -> str | None:
    """Return what is wrong with a schema; None if every word that is read has a value of its type."""
    left: list[Any] = [schema]  # not by recursion: others decide how deep a schema is
    while left:
        known = left.pop()
        if isinstance(known, bool):  # true takes every value, false none
            continue
        if not isinstance(known, Mapping):
            return f"a schema is an object or a boolean, not a {type(known).__name__}"
        for word, fits in _TYPES.items():
            if word in known and not fits(known[word]):
                return f"its {word} has another type"
        left += _inner(known)
    return None


def _inner(schema: Mapping[str, Any]) -> Iterator[Any]:
    for word in _SCHEMA_LISTS:
        yield from schema.get(word, ())
    for word in _SCHEMAS_BY_NAME:
        yield from schema.get(word, {}).values()
    for word in _SCHEMAS:
        inner = schema.get(word, True)
        # A list of schemas, one for each position, is the form of drafts before 2020-12.
        yield from inner if isinstance(inner, list) else (inner,)


def _is_type(value: Any) -> bool:
    return all(isinstance(each, str) for each in (value if isinstance(value, list) else [value]))


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)  # null, as some clients write what they have not


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and _is_type(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "enum": _is_list,
    "description": _is_text,
    "required": _is_list_of_names,
    **dict.fromkeys(_SCHEMA_LISTS, _is_list),
    **dict.fromkeys(_SCHEMAS_BY_NAME, _is_mapping),
}
