"""Calls whose arguments are nested elements, each tag behind a control token (MiniMax M3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from codec_agents.dialects.grammars.base import (
    FoundCall,
    Payload,
    PayloadError,
    items_schema,
    member_schema,
    schema_types,
    typed_value,
)
from codec_agents.dialects.values import Segment

MARK = "]<]minimax[>["
MAX_DEPTH = 64
"""Elements inside one another: a model that opens more closes none."""

_TAG = re.compile(r"\s*<(/?)([^<>\n]+?)>(.*)", re.DOTALL)
_INVOKE = re.compile(r"invoke name=[\"']?([^\"'>\n]+)[\"']?")


@dataclass(slots=True)
class _Element:
    """One element: its name, the text in it, and the elements in it."""

    name: str
    text: str = ""
    children: list[_Element] = field(default_factory=list)


def read_elements(payload: Payload) -> list[FoundCall]:
    """Read `<tool_call>` with `<invoke name="NAME">` elements, whose children are the arguments.

    Raises:
        PayloadError: an element is not closed, has text beside elements, or a name twice in it, or there is
            no call.
    """
    tags = [_tag(part) for part in payload.split(MARK)]  # the mark before the first is the region's own
    root = _tree(iter(tags))
    calls = [_call(each, payload) for each in root.children]
    if root.name != "tool_call" or not calls:
        raise PayloadError(f'a call must have the form <tool_call>{MARK}<invoke name="name">...')
    return calls


def _tag(segments: list[Segment]) -> tuple[bool, str, str]:
    text = "".join(part if isinstance(part, str) else part.name for part in segments)
    match = _TAG.fullmatch(text)
    if match is None:
        raise PayloadError(f"a tag must follow {MARK}")
    return bool(match[1]), match[2], match[3]


def _tree(tags: Iterator[tuple[bool, str, str]]) -> _Element:
    """Return the first element; every tag after its end is a fault."""
    closes, name, text = next(tags)
    if closes:
        raise PayloadError(f"</{name}> closes nothing")
    open_elements = [_Element(name, text)]
    root = open_elements[0]
    for closes, name, text in tags:
        if not open_elements:
            raise PayloadError(f"<{name}> follows the end of the calls")
        # A tag inside a text also looks like this: what was read may be a part of the text.
        if (text if closes else open_elements[-1].text).strip():
            raise PayloadError(f"other text is beside <{name}>", closed=False)
        if not closes:
            open_elements[-1].children.append(element := _Element(name, text))
            open_elements.append(element)
        elif open_elements[-1].name.split(" ")[0] != name:  # behind a space there are attributes
            raise PayloadError(f"</{name}> does not close <{open_elements[-1].name}>")
        else:
            open_elements.pop()
        if len(open_elements) > MAX_DEPTH:
            raise PayloadError("the call is nested too deeply")
    if open_elements:
        raise PayloadError(f"<{open_elements[-1].name}> is not closed", closed=False)
    return root


def _call(element: _Element, payload: Payload) -> FoundCall:
    match = _INVOKE.fullmatch(element.name)
    if match is None:
        raise PayloadError('a call must have the form <invoke name="name">')
    name = match[1].strip()
    parameters = payload.tools[name].parameters if name in payload.tools else {}
    return FoundCall(name, _object(element, parameters, parameters))


def _object(element: _Element, schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    if len({child.name for child in element.children}) < len(element.children):
        raise PayloadError(f"<{element.name}> has a name twice", closed=False)
    return {
        child.name: _value(child, member_schema(schema, child.name, root), root) for child in element.children
    }


def _declares_item(schema: Any, root: Mapping[str, Any]) -> bool:
    """Return whether an object of a schema may have a member of the name that the elements of lists have."""
    return member_schema(schema, "item", root) is not None


def _value(element: _Element, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value: elements named `item` are a list, others an object, and text is read by the schema."""
    types = schema_types(schema, root)
    if not element.children:
        # An empty list, an empty object and an empty text are all written as an element with nothing in it.
        empty: dict[str, Any] = {"array": [], "object": {}}
        kind = next((each for each in empty if each in types and "string" not in types), None)
        if kind is not None and not element.text.strip():
            return empty[kind]
        return typed_value(element.text, schema, root)
    # An object may have a member `item`, but one alone. Beside "array" there may be "null", as in an optional
    # parameter.
    is_object = "object" in types and len(element.children) == 1 and _declares_item(schema, root)
    may_be_list = not types or ("array" in types and not is_object)
    if may_be_list and all(child.name == "item" for child in element.children):
        items = items_schema(schema, root)
        return [_value(child, items, root) for child in element.children]
    return _object(element, schema, root)
