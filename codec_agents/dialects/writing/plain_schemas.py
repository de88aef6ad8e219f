"""Tools without booleans in the place of schemas: the forms that walk a schema expect objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec


@dataclass(frozen=True, slots=True)
class PlainTool:
    """A tool with the schema that a form walks."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def with_plain_schemas(tool: ToolSpec) -> PlainTool:
    """Return a tool in which a parameter that takes any value, or is unknown, has an empty schema."""
    return PlainTool(tool.name, tool.description, _plain(tool.parameters))


def _plain(schema: Any) -> Mapping[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    plain = dict(schema)
    for word in ("properties", "$defs"):
        if word in plain:
            plain[word] = {name: _plain(each) for name, each in plain[word].items()}
    for word in ("anyOf", "oneOf"):
        if word in plain:
            plain[word] = [_plain(each) for each in plain[word]]
    if "items" in plain:
        plain["items"] = _plain(plain["items"])
    return plain
