"""Gemma's declarations of tools: strings between control tokens, bare keys, type names in capitals.

The notations sort the keys, so that nothing here depends on their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from codec_agents.dialects.pieces import Literal, Marker, Piece
from codec_agents.dialects.writing.literals import (
    FUNCTION_GEMMA,
    GEMMA,
    MarkedKey,
    plain_string,
    write_value,
)
from codec_agents.dialects.writing.parameters import described

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec


Write: TypeAlias = Callable[[Any], Any]
"""Returns a parameter's schema as a family declares it."""


def gemma_tool(tool: ToolSpec) -> list[Piece]:
    """Return the declaration of a tool as Gemma 4 reads it, its control tokens included."""
    parameters = tool.parameters
    declared: dict[str, Any] = {"description": tool.description}
    if parameters:
        declared["parameters"] = _object(parameters, _gemma_schema, parameters.get("type"))
    begin: list[Piece] = [Marker("<|tool>"), Literal(f"declaration:{tool.name}")]
    return [*begin, *write_value(declared, GEMMA, plain_string), Marker("<tool|>")]


def function_gemma_tool(tool: ToolSpec) -> list[Piece]:
    """Return the declaration of a tool as FunctionGemma reads it, its control tokens included.

    Google's page "FunctionGemma formatting and best practices" shows the form. Items and properties of
    parameters, which it does not show, are as in the model's handler of the Berkeley Function Calling
    Leaderboard, written after its chat template.
    """
    parameters = _object(tool.parameters, _function_gemma_schema, "object")
    declared = {"description": tool.description, "parameters": parameters}
    begin: list[Piece] = [Marker("<start_function_declaration>"), Literal(f"declaration:{tool.name}")]
    end = Marker("<end_function_declaration>")
    return [*begin, *write_value(declared, FUNCTION_GEMMA, plain_string), end]


def _object(schema: Mapping[str, Any], write: Write, kind: Any) -> dict[str, Any]:
    """Return the schema of all parameters."""
    properties = {"properties": _properties(schema, write)} if schema.get("properties") else {}
    return {**properties, **_required(schema), "type": _upper(kind)}


def _gemma_schema(schema: Any) -> Any:
    """Return a parameter's schema in the words of Gemma 4: it knows no others, defaults among them."""
    if not isinstance(schema, Mapping):  # true and false are schemas too
        return schema
    told = {"description": schema["description"]} if schema.get("description") else {}
    nullable = {"nullable": True} if schema.get("nullable") else {}
    return {**told, **nullable, **_parts(schema, _gemma_schema), "type": _upper(schema.get("type"))}


def _function_gemma_schema(schema: Any) -> dict[str, Any]:
    """Return a parameter's schema in the words of FunctionGemma: a description always, and no `nullable`."""
    known = described(schema)
    told = {"description": known.get("description") or ""}
    return {**told, **_parts(known, _function_gemma_schema), "type": _upper(known.get("type"))}


def _parts(schema: Mapping[str, Any], write: Write) -> dict[str, Any]:
    """Return what depends on the type; both families know an `enum` of strings alone."""
    kind, items = _upper(schema.get("type")), schema.get("items")
    if kind == "STRING" and schema.get("enum"):
        return {"enum": schema["enum"]}
    if kind == "ARRAY" and items and isinstance(items, Mapping):
        return {"items": _items(items, write)}
    return {"properties": _properties(schema, write), **_required(schema)} if kind == "OBJECT" else {}


def _properties(schema: Mapping[str, Any], write: Write) -> dict[str, Any]:
    # The templates leave out a property that is named as one of their own words, such as `type`. The model
    # could not call the tool rightly without it, so it is written here.
    return {name: write(each) for name, each in schema.get("properties", {}).items()}


def _items(items: Mapping[str, Any], write: Write) -> dict[str, Any]:
    """Return the schema of an array's items: as it is, except for properties and types."""
    written = {"properties": _properties(items, write), "type": _upper(items.get("type"))}
    return {key: written.get(key, _marked(value)) for key, value in items.items() if value is not None}


def _marked(value: Any) -> Any:
    """Return a value whose keys are strings: the templates have bare keys only where they know the words."""
    if isinstance(value, Mapping):
        return {MarkedKey(key): _marked(each) for key, each in value.items()}
    return [_marked(each) for each in value] if isinstance(value, (list, tuple)) else value


def _required(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": schema["required"]} if schema.get("required") else {}


def _upper(kind: Any) -> Any:
    # The template of Gemma 4 writes several types as the text of a Python list; they are a list here.
    return [str(each).upper() for each in kind] if isinstance(kind, list) else str(kind or "").upper()
