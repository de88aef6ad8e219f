"""How families write down the tools that a model may call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.pieces import Literal, Piece
from codec_agents.dialects.writing.apertus_tools import apertus_tool
from codec_agents.dialects.writing.gemma_tools import function_gemma_tool, gemma_tool
from codec_agents.dialects.writing.harmony_tools import harmony_tool
from codec_agents.dialects.writing.kimi_tools import kimi_tool
from codec_agents.dialects.writing.parameters import parameters_of
from codec_agents.dialects.writing.python_tools import python_tool

if TYPE_CHECKING:
    from codec_agents.dialects.forms import ToolsForm
    from codec_agents.dialects.messages import ToolSpec


def write_tools(tools: Sequence[ToolSpec], form: ToolsForm) -> list[Piece]:
    """Return the tools in the family's form.

    Names and descriptions are content, of unknown origin: only a form that has control tokens of its own
    places any here.
    """
    if form.each in _MARKED:
        return [piece for tool in tools for piece in _MARKED[form.each](tool)]
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


def openai_tool(tool: ToolSpec) -> dict[str, Any]:
    """Return a tool as OpenAI's API has it, and as chat templates are given it."""
    return {"type": "function", "function": _function(tool)}


def _flat(tool: ToolSpec) -> dict[str, Any]:
    return {"type": "function", **_function(tool)}


def _xml(tool: ToolSpec, *, required_last: bool = False) -> str:
    """Return a tool in tags, as the templates of Qwen3-Coder and Nemotron write it."""
    lines = ["<function>", f"<name>{tool.name}</name>"]
    lines += [f"<description>{tool.description.strip()}</description>"] if tool.description else []
    lines.append("<parameters>")
    for name, schema in parameters_of(tool).items():
        lines += ["<parameter>", f"<name>{name}</name>"]
        lines += [f"<{word}>{_trimmed(schema[word])}</{word}>" for word in _FIRST if word in schema]
        lines += _xml_words(schema, _FIRST)
        lines.append("</parameter>")
    rest = dict(tool.parameters)
    # Nemotron's template writes it last, Qwen3-Coder's where the schema has it.
    required = rest.pop("required", None) if required_last else None
    lines += _xml_words(rest, ("type", "properties"))
    if required is not None:
        lines.append(f"<required>{_json(required, None)}</required>")
    return "\n".join([*lines, "</parameters>", "</function>"])


_FIRST = ("type", "description")
"""The words of a parameter's schema that its form has first."""


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _xml_words(schema: Mapping[str, Any], handled: Sequence[str]) -> list[str]:
    """Return the other words of a schema: lists and objects as JSON, all else as the template's Python."""
    rest = {word: value for word, value in schema.items() if word not in handled}
    is_json = (Mapping, list, tuple)
    return [
        f"<{word}>{_json(value, None) if isinstance(value, is_json) else value}</{word}>"
        for word, value in rest.items()
    ]


def _headed(tool: ToolSpec) -> str:
    parameters = _json(dict(tool.parameters), None)
    return f"### {tool.name}\nDescription: {tool.description}\n\nParameters: {parameters}\n"


def _repr(tool: ToolSpec) -> str:
    return str(_function(tool))


def _with_responses(tool: ToolSpec) -> dict[str, Any]:
    """Return a tool as Cohere's templates write it, which never tell what it answers."""
    return {**_function(tool), "responses": None}


_SHAPES: Mapping[str, Callable[[ToolSpec], dict[str, Any]]] = {
    "openai": openai_tool,
    "function": _function,
    "flat": _flat,
    "responses": _with_responses,
}
_MARKED: Mapping[str, Callable[[ToolSpec], list[Piece]]] = {
    "gemma": gemma_tool,
    "function-gemma": function_gemma_tool,
}
_WRITERS: Mapping[str, Callable[[ToolSpec], str]] = {
    "xml": _xml,
    "xml-types": partial(_xml, required_last=True),
    "typescript": harmony_tool,
    "kimi": kimi_tool,
    "apertus": apertus_tool,
    "python": python_tool,
    "headed": _headed,
    "repr": _repr,
}
