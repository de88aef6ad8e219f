"""Tools as function types of TypeScript, as Kimi reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.writing.parameters import described, parameters_of

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec

_CONSTRAINTS: Mapping[str, tuple[str, ...]] = {
    "string": ("maxLength", "minLength", "pattern"),
    "number": ("maximum", "minimum"),
    "integer": ("maximum", "minimum"),
    "array": ("maxItems", "minItems"),
}
"""The words of a schema that Kimi's form repeats in a comment, in its order."""


def kimi_tool(tool: ToolSpec) -> str:
    """Return a tool as Kimi K2.5 reads it: sorted parameters, constraints and defaults in comments."""
    lines, parameters = [], _object(tool.parameters, "")
    if any(_refers_to_all(each) for each in parameters_of(tool).values()):
        # A schema within itself has a name; its parameters are not sorted there.
        lines.append(f"interface {_ALL} {_braces(_parameters(tool.parameters, '', in_order=True))}")
        parameters = _ALL
    for name, schema in tool.parameters.get("$defs", {}).items():
        lines += _comments(described(schema).get("description", ""), "")
        lines.append(f"interface {name} {_type(schema, '')}")
    lines += _comments(tool.description, "")
    return "\n".join([*lines, f"type {tool.name} = (_: {parameters}) => any;"])


def _refers_to_all(schema: Any) -> bool:
    """Return whether a part of a schema is the whole of it."""
    if isinstance(schema, Mapping):
        return schema.get("$ref") == "#" or any(map(_refers_to_all, schema.values()))
    return isinstance(schema, (list, tuple)) and any(map(_refers_to_all, schema))


def _comments(description: str, indent: str) -> list[str]:
    return [f"{indent}// {line}" if line else "" for line in description.split("\n")] if description else []


def _object(schema: Mapping[str, Any], indent: str) -> str:
    return _braces(_parameters(schema, indent), indent)


def _braces(written: Sequence[str], indent: str = "") -> str:
    inside = ",\n".join(written)
    return f"{{\n{inside}\n{indent}}}" if written else "{}"


def _parameters(schema: Mapping[str, Any], indent: str, *, in_order: bool = False) -> list[str]:
    required, inner = set(schema.get("required", ())), f"{indent}  "
    names = list(schema.get("properties", {}))
    if not in_order:
        # The required ones first, as the family's own code writes them.
        names.sort(key=lambda name: (name not in required, name))
    written = [_parameter(name, schema["properties"][name], inner, name not in required) for name in names]
    more = None if in_order else schema.get("additionalProperties")
    if more is not None:
        kind = {True: "any", False: "never"}[more] if isinstance(more, bool) else _type(more, inner)
        written.append(f"{inner}[k: string]: {kind}")
    return written


def _parameter(name: str, schema: Any, indent: str, is_optional: bool) -> str:
    lines, default = _told(schema, indent), described(schema).get("default")
    if default is not None:
        lines.append(f"{indent}// Default: {json.dumps(default, ensure_ascii=False)}")
    return "\n".join([*lines, f"{indent}{name}{'?' if is_optional else ''}: {_type(schema, indent)}"])


def _told(schema: Any, indent: str) -> list[str]:
    schema = described(schema)
    lines = _comments(schema.get("description", ""), indent)
    is_plain = not any(word in schema for word in ("$ref", "anyOf", "enum"))
    words = _CONSTRAINTS.get(str(schema.get("type")), ()) if is_plain else ()
    said = [f"{word}: {schema[word]}" for word in words if word in schema]
    return [*lines, f"{indent}// {', '.join(said)}"] if said else lines


def _type(schema: Any, indent: str) -> str:
    if schema is False:
        return "null"  # the package's word for what takes no value
    schema = described(schema)
    if "$ref" in schema:
        return _ALL if schema["$ref"] == "#" else str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(_type(each, indent) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(
            f'"{each}"' if isinstance(each, str) else json.dumps(each) for each in schema["enum"]
        )
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(_PLAIN.get(str(each), str(each)) for each in kind)
    if kind == "object":
        return _object(schema, indent)
    return _array(schema, indent) if kind == "array" else _PLAIN.get(kind, kind)


def _array(schema: Mapping[str, Any], indent: str) -> str:
    items, inner = schema.get("items") or {}, f"{indent}  "
    told = _told(items, inner)
    if told:
        return "\n".join(["Array<", *told, f"{inner}{_type(items, inner)}", f"{indent}>"])
    return f"Array<{_type(items, indent)}>"


_ALL = "parameters"
_PLAIN = {"integer": "number", "object": "{}", "array": "Array<any>"}
