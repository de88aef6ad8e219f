"""Tools as function types of TypeScript, as two families write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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


def harmony_tool(tool: ToolSpec) -> str:
    """Return a tool as gpt-oss reads it: comments before parameters, defaults behind them."""
    lines = [f"// {line}" for line in tool.description.splitlines()]
    properties = parameters_of(tool)
    if not properties:
        return "\n".join([*lines, f"type {tool.name} = () => any;"])
    required = set(tool.parameters.get("required", ()))
    lines.append(f"type {tool.name} = (_: {{")
    for name, schema in properties.items():
        lines += _description(schema)
        default = f" // default: {_json(schema['default'])}" if "default" in schema else ""
        lines.append(f"{name}{'' if name in required else '?'}: {_type(schema)},{default}")
    return "\n".join([*lines, "}) => any;"])


def _joined(parameters: Iterable[str]) -> str:
    return ",\n".join(parameters)


def _description(schema: Mapping[str, Any]) -> list[str]:
    return [f"// {schema['description']}"] if schema.get("description") else []


def _type(schema: Any) -> str:
    schema = described(schema)
    if "enum" in schema:
        return " | ".join(map(_json, schema["enum"]))
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if branches:
        return " | ".join(map(_type, branches))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"{_type(schema.get('items', {}))}[]"
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    return "number" if kind == "integer" else str(kind)


def kimi_tool(tool: ToolSpec) -> str:
    """Return a tool as Kimi K2.5 reads it: sorted parameters, constraints and defaults in comments."""
    comment = "".join(_comments(tool.description, ""))
    defined = {
        name: f"type {name} = {_kimi_type(schema, '')};\n"
        for name, schema in tool.parameters.get("$defs", {}).items()
    }
    parameters = _kimi_object(tool.parameters, "") if tool.parameters.get("properties") else "{}"
    return f"{''.join(defined.values())}{comment}type {tool.name} = (_: {parameters}) => any;"


def _comments(description: str, indent: str) -> Iterator[str]:
    if description:
        yield from (f"{indent}// {line}\n" if line else "\n" for line in description.split("\n"))


def _kimi_object(schema: Mapping[str, Any], indent: str) -> str:
    required, inner = set(schema.get("required", ())), f"{indent}  "
    # The required ones first, as the family's own code writes them.
    names = sorted(schema.get("properties", {}), key=lambda name: (name not in required, name))
    written = [
        _kimi_parameter(name, described(schema["properties"][name]), inner, optional=name not in required)
        for name in names
    ]
    more = schema.get("additionalProperties")
    if more is not None:
        kind = {True: "any", False: "never"}[more] if isinstance(more, bool) else _kimi_type(more, inner)
        written.append(f"{inner}[k: string]: {kind}")
    return f"{{\n{_joined(written)}\n{indent}}}" if written else "{}"


def _kimi_parameter(name: str, schema: Mapping[str, Any], indent: str, *, optional: bool) -> str:
    comments = "".join(_kimi_comments(schema, indent))
    if schema.get("default") is not None:
        comments += f"{indent}// Default: {_json(schema['default'])}\n"
    return f"{comments}{indent}{name}{'?' if optional else ''}: {_kimi_type(schema, indent)}"


def _kimi_comments(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield from _comments(schema.get("description", ""), indent)
    words = _CONSTRAINTS.get(str(schema.get("type")), ()) if "enum" not in schema else ()
    said = [f"{word}: {schema[word]}" for word in words if word in schema]
    if said:
        yield f"{indent}// {', '.join(said)}\n"


def _kimi_type(schema: Any, indent: str) -> str:
    schema = described(schema)
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        # The whole schema, within itself, has no name but that of the function's parameters.
        return "parameters" if name == "#" else name
    if "anyOf" in schema:
        return " | ".join(_kimi_type(each, indent) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(_json, schema["enum"]))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(_PLAIN.get(str(each), str(each)) for each in kind)
    if kind == "object":
        return _kimi_object(schema, indent)
    return _kimi_array(schema, indent) if kind == "array" else _PLAIN.get(kind, kind)


def _kimi_array(schema: Mapping[str, Any], indent: str) -> str:
    items, inner = described(schema.get("items")), f"{indent}  "
    comments = "".join(_kimi_comments(items, inner))
    if comments:
        return f"Array<\n{comments}{inner}{_kimi_type(items, inner)}\n{indent}>"
    return f"Array<{_kimi_type(items, indent)}>"


_PLAIN = {"integer": "number", "object": "{}", "array": "Array<any>"}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
