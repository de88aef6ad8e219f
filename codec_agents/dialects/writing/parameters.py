"""The parameters of a tool, for forms that describe each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec


def parameters_of(tool: ToolSpec) -> dict[str, Mapping[str, Any]]:
    """Return the schema of each parameter; one whose schema is a boolean has nothing to describe."""
    return {name: described(schema) for name, schema in tool.parameters.get("properties", {}).items()}


def described(schema: Any) -> Mapping[str, Any]:
    """Return a schema that says something; an empty one for true, false, and items by position."""
    return schema if isinstance(schema, Mapping) else {}
