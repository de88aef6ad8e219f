"""Tools as the chat template of Apertus writes them: types of TypeScript, with all of its white space."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.writing.parameters import described, parameters_of

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec

_LONGEST_ITEM = 50
"""Characters of the longest type of items that the template writes out."""
_PLAIN = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
# The white space between two lines of the template, which it does not strip there.
_BEFORE_TYPE = "\n" + " " * 16
_BEFORE_DEFAULT = " " * 20


def apertus_tool(tool: ToolSpec) -> str:
    """Return a tool as Apertus reads it: comments before parameters, defaults behind them."""
    head = f"// {tool.description}\ntype {tool.name} = "
    required = set(tool.parameters.get("required", ()))
    written = ",\n".join(_parameter(name, each, required) for name, each in parameters_of(tool).items())
    return f"{head}(_: {{\n{written}\n}}) => any;" if written else f"{head}() => any;"


def _parameter(name: str, schema: Mapping[str, Any], required: Container[str]) -> str:
    comment = f"// {schema['description']}\n" if schema.get("description") else ""
    return f"{comment}{_named(name, required)}: {_type(schema, required)}{_default(schema)}"


def _named(name: str, required: Container[str]) -> str:
    return name if name in required else f"{name}?"


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return ""
    value = schema["default"]
    # Other values than strings have no form there: the template adds them to a string, and fails.
    as_text = value if isinstance(value, str) else _json(value)
    if schema.get("enum"):
        return f", // default: {as_text}"
    return f"// default: {as_text}" if schema.get("oneOf") else f", // default: {_json(value)}"


def _type(schema: Any, required: Container[str]) -> str:
    schema = described(schema)
    kind = schema.get("type")
    if kind == "array":
        return f"{_item(schema.get('items'), required)}[]{_nullable(schema)}"
    if isinstance(kind, list) and kind:
        return " | ".join(map(str, kind))
    if schema.get("oneOf"):
        return " | \n".join(_variant(each, required) for each in schema["oneOf"])
    if kind == "string":
        return _string(schema)
    if kind == "object":
        return _object(schema)
    return _PLAIN.get(str(kind), "any")


def _item(items: Any, required: Container[str]) -> str:
    schema = described(items)
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]  # without what else is said of it
    inner = _type(schema, required)
    return "any" if inner == "object | object" or len(inner) > _LONGEST_ITEM else inner  # as the template


def _variant(variant: Any, required: Container[str]) -> str:
    schema = described(variant)
    comment = f"// {schema['description']}" if schema.get("description") else ""
    default = f"{_BEFORE_DEFAULT}// default: {_json(schema['default'])}" if "default" in schema else ""
    return f"{_type(schema, required)}{comment}{default}"


def _string(schema: Mapping[str, Any]) -> str:
    if schema.get("enum"):
        return " | ".join(f'"{each}"' for each in schema["enum"])  # not as JSON
    return f"string{_nullable(schema)}"


def _object(schema: Mapping[str, Any]) -> str:
    properties = schema.get("properties")
    if not properties:
        return "object"
    required = schema.get("required") or ()
    parts = [
        f"{_named(name, required)}: {_BEFORE_TYPE}{_type(each, required)}"
        for name, each in properties.items()
    ]
    return f"{{\n{', '.join(parts)}}}"


def _nullable(schema: Mapping[str, Any]) -> str:
    return " | null" if schema.get("nullable") else ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
