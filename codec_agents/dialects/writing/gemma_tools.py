"""Gemma's declarations of tools: strings between control tokens, bare keys, type names in capitals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.pieces import Literal, Marker, Piece
from codec_agents.dialects.writing.literals import FUNCTION_GEMMA, GEMMA, plain_string, write_value
from codec_agents.dialects.writing.parameters import parameters_of

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec


def gemma_tool(tool: ToolSpec) -> list[Piece]:
    """Return the declaration of a tool as Gemma 4 reads it, its control tokens included."""
    parameters = tool.parameters
    declared: dict[str, Any] = {"description": tool.description}
    if parameters:
        described = {"properties": _properties(parameters)} if parameters.get("properties") else {}
        declared["parameters"] = described | _end(parameters)
    begin: list[Piece] = [Marker("<|tool>"), Literal(f"declaration:{tool.name}")]
    return [*begin, *write_value(declared, GEMMA, plain_string), Marker("<tool|>")]


def function_gemma_tool(tool: ToolSpec) -> list[Piece]:
    """Return the declaration of a tool as FunctionGemma reads it: descriptions and types alone."""
    required = tool.parameters.get("required")
    told = {
        name: {"description": schema.get("description", ""), "type": _upper(schema.get("type"))}
        for name, schema in parameters_of(tool).items()
    }
    parameters = {"properties": told} if told else {}
    parameters |= {"required": required} if required else {}
    declared = {"description": tool.description, "parameters": {**parameters, "type": "OBJECT"}}
    begin: list[Piece] = [Marker("<start_function_declaration>"), Literal(f"declaration:{tool.name}")]
    end = Marker("<end_function_declaration>")
    return [*begin, *write_value(declared, FUNCTION_GEMMA, plain_string), end]


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    ordered = sorted(schema.get("properties", {}).items(), key=lambda item: str(item[0]).lower())
    return {name: _schema(each) for name, each in ordered}


def _schema(schema: Any) -> Any:
    """Return a parameter's schema in the family's words: it knows no others, defaults among them."""
    if not isinstance(schema, Mapping):  # true and false are schemas too
        return schema
    kind = str(schema.get("type", "")).upper()
    found = {"description": schema["description"]} if schema.get("description") else {}
    if kind == "STRING" and schema.get("enum"):
        found["enum"] = schema["enum"]
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping):
        found["items"] = _items(schema["items"])
    if schema.get("nullable"):
        found["nullable"] = True
    if kind == "OBJECT":
        found["properties"] = _properties(schema)
    return found | _end(schema, everywhere=kind == "OBJECT")


def _items(items: Mapping[str, Any]) -> dict[str, Any]:
    written = {"properties": _properties(items), "type": _upper(items.get("type"))}
    return {key: written.get(key, value) for key, value in sorted(items.items()) if value is not None}


def _end(schema: Mapping[str, Any], *, everywhere: bool = True) -> dict[str, Any]:
    required = {"required": schema["required"]} if everywhere and schema.get("required") else {}
    return {**required, "type": _upper(schema.get("type", ""))}


def _upper(kind: Any) -> Any:
    return [str(each).upper() for each in kind] if isinstance(kind, list) else str(kind or "").upper()
