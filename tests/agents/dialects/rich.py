"""Conversations in which everything is less simple than usual: schemas, arguments, results, reasoning.

References write them as well (`tests/agents/dialects/references.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from codec_agents.dialects import Dialect, ThinkingMode
from codec_agents.graph.chat import Chat
from codec_agents.graph.turns import ChatTurn, DeclaredCall
from codec_agents.tools.tool import Tool, tool


@tool(read_only=True)
def search(**_arguments: Any) -> str:
    """Search."""
    return ""


RICH_TOOLS: tuple[Tool, ...] = (
    replace(
        search,
        description='Finds "things" in <all> shops & sheds.\nÅlesund, 三: not before 8 o\'clock.',
        parameters={
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": 'The words, as in "red hat"\nor <none>.'},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 10},
                "near": {"type": "number", "description": "Kilometres; 0.5 ≤ x."},
                "order": {"type": "string", "enum": ["price", "distance"], "default": "price"},
                "exact": {"type": "boolean", "default": False},
                "filters": {
                    "type": "object",
                    "description": "What to leave out.",
                    "properties": {
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "price": {
                            "type": "object",
                            "properties": {"to": {"type": "number"}, "from": {"type": "number"}},
                            "required": ["to"],
                        },
                    },
                    "required": ["tags"],
                },
                "after": {"type": "string", "nullable": True, "description": "A date."},
                "pages": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                "spots": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"lon": {"type": "number"}, "lat": {"type": "number"}},
                        "required": ["lat", "lon"],
                    },
                },
            },
            "required": ["query", "filters"],
        },
    ),
    replace(
        search, name="now", description="Says the time.", parameters={"type": "object", "properties": {}}
    ),
)
NOTE_TOOLS: tuple[Tool, ...] = (
    replace(
        search,
        name="save-note",
        description="Keeps texts.",
        parameters={
            "type": "object",
            "properties": {
                name: {"type": "string"}
                for name in (
                    *("title", "digits", "word", "nothing", "number", "list", "object"),
                    *("quotes", "lines", "spaces", "tag", "script", "backslash"),
                )
            },
            "required": ["title"],
            "additionalProperties": False,
        },
    ),
)

ODD_TOOLS: tuple[Tool, ...] = (
    replace(
        search,
        name="shop_order",
        description="Orders.\n",
        parameters={
            "type": "object",
            "properties": {
                "size": {"type": "string", "enum": ["größe", 'a "b"'], "default": "größe"},
                "count": {"type": ["integer", "null"], "title": "Count", "default": None},
                "place": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Place"}]},
                "number": {"type": "integer", "enum": [1, 2], "examples": ["a"]},
                "type": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "more": {"type": "object", "additionalProperties": {"type": "string"}},
                "any": {},
            },
            "required": ["type"],
            "$defs": {
                "Place": {
                    "type": "object",
                    "description": "Somewhere.",
                    "properties": {"zip": {"type": "string"}},
                    "required": ["zip"],
                }
            },
        },
    ),
)
"""A tool whose schema is legal and rare."""

_SEARCH: dict[str, Any] = {
    "query": "red hat, Ålesund",
    "limit": 0,
    "near": -1.5,
    "exact": False,
    "filters": {"tags": ["z", 'a "b"\n'], "price": {"to": 12345678901234567890, "from": 1e-7}},
    "after": None,
    "pages": [],
    "spots": [{"lon": 10.25, "lat": 59}, {"lat": 0, "lon": -0.5}],
}
_STRINGS: dict[str, Any] = {
    "title": "",
    "digits": "007",
    "word": "true",
    "nothing": "null",
    "number": "1e400",
    "list": "[1, 2]",
    "object": '{"a": 1}',
    "quotes": 'it\'s "so"',
    "lines": "one\n\ntwo",
    "spaces": "  x ",
    "tag": "<b>bold</b> & more",
    "script": "Ålesund 三 😀",
    "backslash": "C:\\new",
}
_RESULTS = {
    "search": '{"hits": [{"name": "Hüte \\"三\\"", "price": 1.50}], "more": null}',
    "now": "",
    "save-note": "kept\n\n<b>two</b> lines",
}


def rich_conversations(
    dialect: Dialect, system: str | None, asks: ThinkingMode | None, *, thinks: bool, told: bool
) -> Iterator[tuple[str, str, Chat]]:
    """Yield chats with their names and what tools they have.

    Args:
        dialect: the family.
        system: a system text, where the family has a place for it.
        asks: the thinking mode in which it reasons.
        thinks: whether it reasons.
        told: whether a prompt tells it the tools.
    """
    asked = ChatTurn(role="user", content='Où?\n\n<none> & "some"')
    if told:
        yield "rich tools", "rich", Chat(system=system, user="Hi\nthere", thinking=asks)
        yield "odd tools", "odd", Chat(system=system, user="Hi\nthere", thinking=asks)

    def thought(text: str) -> str | None:
        return text if thinks else None

    def turns(*calls: tuple[str, dict[str, Any]], reasoning: str | None) -> list[ChatTurn]:
        return _turns(dialect, calls, reasoning)

    strings = turns(("save-note", _STRINGS), reasoning=None)
    yield "rich strings", "notes", Chat(system=system, turns=(asked, *strings), thinking=asks)
    calls = (("search", _SEARCH), ("now", {}), ("search", {"query": "x", "filters": {"tags": []}}))
    first = turns(*calls, reasoning=thought("Look\nit up."))
    answered = ChatTurn(role="assistant", content="It\nis 三.", reasoning=thought("So."))
    last = ChatTurn(role="user", content="And 三?")
    again = turns(("now", {}), reasoning=thought("Again."))
    history = (asked, *first, answered, ChatTurn(role="user", content="And?"), answered, last, *again)
    yield "rich history", "rich", Chat(system=system, turns=history, thinking=asks)


def _turns(
    dialect: Dialect, calls: Sequence[tuple[str, dict[str, Any]]], reasoning: str | None
) -> list[ChatTurn]:
    """Return a turn with calls, or as many as the family needs for them, and the results."""
    form = dialect.calls.written if dialect.calls is not None else None
    assert form is not None
    found: list[ChatTurn] = []
    most = form.most or len(calls)
    for start in range(0, len(calls), most):
        declared = [
            DeclaredCall(name=name, arguments=_escaped(arguments))
            for name, arguments in calls[start : start + most]
        ]
        found.append(ChatTurn(role="assistant", reasoning=reasoning, calls=tuple(declared)))
        found += [ChatTurn(role="tool", content=_escaped(_RESULTS[each.name])) for each in declared]
    return found


def _escaped(value: Any) -> Any:
    """Return a value whose strings have no slots."""
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, Mapping):
        return {key: _escaped(entry) for key, entry in value.items()}
    return [_escaped(entry) for entry in value] if isinstance(value, list) else value
