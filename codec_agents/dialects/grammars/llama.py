"""The calls of Llama models: JSON with `parameters`, Python-like calls, or plain Python code."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from codec_agents.dialects.grammars.base import FoundCall, Payload, PayloadError, unfenced
from codec_agents.dialects.grammars.json_calls import read_json
from codec_agents.dialects.grammars.python_values import parse_python, python_value

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec

CODE_TOOL = "code_interpreter"
"""The tool that plain Python code is meant for, in Llama's own words."""


def read_llama(payload: Payload) -> list[FoundCall]:
    """Return the calls of a payload, in whichever of the family's forms it is.

    Raises:
        PayloadError: it is none of them.
    """
    text = unfenced(payload.text).strip()
    if text.startswith("{"):
        return read_json(payload)
    try:
        return _python_calls(text, payload)
    except PayloadError:
        # Only behind `<|python_tag|>` is other text a payload: the models write code there.
        if text.startswith("["):  # as lists of both kinds do; one in JSON is no Python, or no call in it
            if '"name"' in text:
                return read_json(payload)
            raise
        return [FoundCall(CODE_TOOL, {"code": payload.text.strip()})]


def read_python_lines(payload: Payload) -> list[FoundCall]:
    """Return the calls of a payload with one Python-like call in each line.

    Raises:
        PayloadError: a line is none.
    """
    lines = [line for line in payload.text.strip().split("\n") if line.strip()]
    if not lines:
        raise PayloadError("there is no call")
    return [call for line in lines for call in _python_calls(line.strip(), payload)]


def _python_calls(text: str, payload: Payload) -> list[FoundCall]:
    """Read `[f(a='x'), g()]` or `f.call(a='x')`; only literals are values, nothing is run."""
    names: dict[str, str] = {}
    try:
        tree = parse_python(_plain_names(text, names))
    except ValueError as error:
        raise PayloadError(f"the calls are not Python calls: {error}") from None
    nodes = tree.elts if isinstance(tree, ast.List) else [tree]
    if not nodes:
        raise PayloadError("the list of calls is empty")
    return [_call(node, payload, names) for node in nodes]


_NAMED = re.compile(
    r"""(?P<quote>'''|\"\"\"|'|")(?:\\.|(?!(?P=quote))[^\\])*(?:(?P=quote)|\\?\Z)"""
    r"""|(?<![\w.-])(?P<name>[A-Za-z_][\w.]*(?:-[\w.]+)+)(?=\s*\()""",
    re.DOTALL,
)
"""A string, or a name with hyphens before an argument list. Python has no such names. A string that nothing
ends goes on to the end: tried again from each of its quotes, it would take quadratic time."""


def _plain_names(text: str, names: dict[str, str]) -> str:
    """Return calls in which each name with hyphens is one that Python knows; note the original."""

    def replaced(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        plain = f"__tool_{len(names)}"
        names[plain] = match["name"]
        return plain

    return _NAMED.sub(replaced, text)


def _call(node: ast.expr, payload: Payload, names: Mapping[str, str]) -> FoundCall:
    if not isinstance(node, ast.Call):
        raise PayloadError("each call must have the form name(key=value)")
    name = _dotted(node.func)
    name = names.get(name, name)
    if name not in payload.tools:
        name = name.removesuffix(".call")  # Llama 3.1 calls its built-in tools so: `brave_search.call(...)`
    # Not strict: parameters behind the positional values come by name, or are left out.
    arguments = dict(
        zip(_positions(node, payload.tools.get(name), name), map(_value, node.args), strict=False)
    )
    for keyword in node.keywords:
        if keyword.arg is None:
            raise PayloadError("** is not a value", name)
        if keyword.arg in arguments:  # the parser alone does not refuse it
            raise PayloadError(f"the value of {keyword.arg!r} is given twice", name)
        arguments[keyword.arg] = _value(keyword.value)
    return FoundCall(name, arguments)


def _positions(node: ast.Call, tool: ToolSpec | None, name: str) -> list[str]:
    """Return the names of the parameters that positional values are for.

    Args:
        node: the call.
        tool: the tool that it names; None where there is none.
        name: the name as the model wrote it, which `node` may have a stand-in for.
    """
    if not node.args:
        return []
    names = list(tool.parameters.get("properties", {})) if tool is not None else []
    if len(names) < len(node.args):
        raise PayloadError("values must be given by name: name(key=value)", name)
    return names


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):  # no recursion: the parser reads longer chains than Python can go
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise PayloadError("each call must have the form name(key=value)")
    return ".".join([node.id, *reversed(parts)])


def _value(node: ast.expr) -> object:
    try:
        return python_value(node)
    except (ValueError, TypeError, RecursionError) as error:
        raise PayloadError(f"values must be literals that JSON has too: {error}") from None
