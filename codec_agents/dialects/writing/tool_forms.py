"""How families write down the tools that a model may call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.pieces import Literal, Marker, Piece
from codec_agents.dialects.writing.literals import GEMMA, plain_string, write_value

if TYPE_CHECKING:
    from codec_agents.dialects.base import ToolsForm
    from codec_agents.dialects.messages import ToolSpec


def write_tools(tools: Sequence[ToolSpec], form: ToolsForm) -> list[Piece]:
    """Return the tools in the family's form.

    Names and descriptions are content, whoever wrote them: only a form that has control tokens of its own
    places any here.
    """
    if form.each == "gemma":
        return [piece for tool in tools for piece in _gemma(tool)]
    return [Literal(_written(tools, form))]


def _written(tools: Sequence[ToolSpec], form: ToolsForm) -> str:
    if form.each in _WRITERS:
        return form.join.join(_WRITERS[form.each](tool) for tool in tools)
    shapes = [_SHAPES[form.each](tool) for tool in tools]
    write = _canonical if form.canonical else partial(_json, indent=form.indent)
    return write(shapes) if form.list_of else form.join.join(map(write, shapes))


def _json(value: Any, indent: int | None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _function(tool: ToolSpec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}


def _openai(tool: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": _function(tool)}


def _properties(tool: ToolSpec) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    return properties


def _xml(tool: ToolSpec) -> str:
    lines = ["<function>", f"<name>{tool.name}</name>"]
    lines += [f"<description>{tool.description}</description>"] if tool.description else []
    lines.append("<parameters>")
    for name, schema in _properties(tool).items():
        lines += ["<parameter>", f"<name>{name}</name>", f"<type>{schema.get('type', 'any')}</type>"]
        if "description" in schema:
            lines.append(f"<description>{schema['description']}</description>")
        rest = {key: value for key, value in schema.items() if key not in ("type", "description", "title")}
        lines += [f"<{key}>{_json(value, None)}</{key}>" for key, value in rest.items()]
        lines.append("</parameter>")
    if required := tool.parameters.get("required"):
        lines.append(f"<required>{_json(required, None)}</required>")
    return "\n".join([*lines, "</parameters>", "</function>"])


def _typescript(tool: ToolSpec) -> str:
    """Harmony's form: one function type in a namespace."""
    required = set(tool.parameters.get("required", ()))
    lines = [f"// {line}" for line in tool.description.splitlines()]
    if not _properties(tool):
        return "\n".join([*lines, f"type {tool.name} = () => any;"])
    lines.append(f"type {tool.name} = (_: {{")
    for name, schema in _properties(tool).items():
        if "description" in schema:
            lines.append(f"// {schema['description']}")
        default = f" // default: {_json(schema['default'], None)}" if "default" in schema else ""
        lines.append(f"{name}{'' if name in required else '?'}: {_ts_type(schema)},{default}")
    return "\n".join([*lines, "}) => any;"])


def _ts_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(_json(value, None) for value in schema["enum"])
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if branches:
        return " | ".join(_ts_type(branch) for branch in branches)
    if schema.get("type") == "array":
        return f"{_ts_type(schema.get('items', {}))}[]"
    return {"integer": "number", "object": "object"}.get(
        str(schema.get("type")), str(schema.get("type", "any"))
    )


def _headed(tool: ToolSpec) -> str:
    parameters = _json(dict(tool.parameters), None)
    return f"### {tool.name}\nDescription: {tool.description}\n\nParameters: {parameters}\n"


def _gemma(tool: ToolSpec) -> list[Piece]:
    """Gemma's form: strings stand between control tokens, keys are bare, type names in capitals."""
    declared = {"description": tool.description, "parameters": _type_last(tool.parameters)}
    begin: list[Piece] = [Marker("<|tool>"), Literal(f"declaration:{tool.name}")]
    return [*begin, *write_value(declared, GEMMA, plain_string), Marker("<tool|>")]


def _type_last(schema: Any) -> Any:
    """Return a schema as the family writes it: the type after everything else, in capitals."""
    if isinstance(schema, list):
        return [_type_last(entry) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    ordered = sorted(schema.items(), key=lambda item: item[0] == "type")
    return {
        key: value.upper() if key == "type" and isinstance(value, str) else _type_last(value)
        for key, value in ordered
    }


_SHAPES: Mapping[str, Callable[[ToolSpec], dict[str, Any]]] = {"openai": _openai, "function": _function}
_WRITERS: Mapping[str, Callable[[ToolSpec], str]] = {
    "xml": _xml,
    "typescript": _typescript,
    "headed": _headed,
}
