"""Conversations in which tools were called, as far as a family writes such turns: what a check compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codec_agents.graph.chat import Chat
from codec_agents.graph.messages import call_id
from codec_agents.graph.turns import ChatTurn, DeclaredCall

if TYPE_CHECKING:
    from codec_agents.dialects.bound import BoundDialect

_SAMPLES: Mapping[str, Any] = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}


def called_chats(bound: BoundDialect) -> dict[str, Chat]:
    """Return conversations by what they show: calls and results, text and reasoning before them.

    Args:
        bound: the dialect; its tools are those that are called.
    """
    form = bound.dialect.calls.written if bound.dialect.calls is not None else None
    if form is None or bound.dialect.results is None or not bound.tools:
        return {}
    calls = _calls(bound, form.most or 2)  # two show also what the family writes between calls
    told = [ChatTurn(role="tool", content=f"Result {number}") for number, _ in enumerate(calls)]
    asked = ChatTurn(role="user", content="Hello there")

    def chat(*behind: ChatTurn, user: str | None = None, **said: str) -> Chat:
        called = ChatTurn(role="assistant", calls=calls, **said)
        return Chat(turns=(asked, called, *told, *behind), user=user)

    chats = {"calls and their results": chat()}
    if form.text is not None:
        chats["text before calls"] = chat(content="Let me see.")
    if bound.knows_reasoning:
        answer = ChatTurn(role="assistant", content="Done.")
        chats["reasoning before calls"] = chat(reasoning="Hm.")
        chats["reasoning of an earlier exchange"] = chat(answer, user="And now?", reasoning="Hm.")
    return chats


def _calls(bound: BoundDialect, most: int) -> tuple[DeclaredCall, ...]:
    form = bound.dialect.results
    # Where an id spells the tool, templates read it out of the id; elsewhere they take any id.
    named = form is not None and "{name}" in form.id_form
    tools = ([*bound.tools.values()] * 2)[: min(most, 2)]
    return tuple(
        DeclaredCall(
            name=tool.name,
            arguments=_arguments(tool.parameters),
            id=form.id_form.format(index=number, name=tool.name) if form and named else call_id(number),
        )
        for number, tool in enumerate(tools)
    )


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments that are of the right types."""
    properties = schema.get("properties", {})
    return {
        name: _SAMPLES.get(str(properties.get(name, {}).get("type")), "x")
        for name in schema.get("required", ())
    }
