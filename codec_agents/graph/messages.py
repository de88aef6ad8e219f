"""A declared chat as the messages that chat templates take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

from codec_agents.graph.chat import Chat
from codec_agents.graph.turns import ChatTurn, DeclaredCall


def chat_messages(chat: Chat, text: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return the messages of a chat.

    Args:
        chat: the declaration.
        text: returns the text of a declared string, which may hold slots.
    """
    system = () if chat.system is None else (ChatTurn(role="system", content=chat.system),)
    user = () if chat.user is None else (ChatTurn(role="user", content=chat.user),)
    messages: list[dict[str, Any]] = []
    results: list[DeclaredCall] = []
    number = 0
    for turn in (*system, *chat.turns, *user):
        message: dict[str, Any] = {"role": turn.role, "content": text(turn.content)}
        if turn.reasoning is not None:
            message["reasoning_content"] = text(turn.reasoning)
        if turn.calls:
            # Numbered through the whole chat: no two calls have one id.
            ids = [call.id or call_id(number + n) for n, call in enumerate(turn.calls)]
            results = [
                call.model_copy(update={"id": each}) for call, each in zip(turn.calls, ids, strict=True)
            ]
            number += len(results)
            message["tool_calls"] = [_call(call, text) for call in results]
        if turn.role == "tool":
            # Declared results name no call: they answer the calls before them in order. One without a call
            # before it has the tool that it names itself.
            answered = results.pop(0) if results else None
            name = turn.name if answered is None else answered.name
            message |= {} if name is None else {"name": name}
            message |= {} if answered is None else {"tool_call_id": answered.id}
        messages.append(message)
    return messages


def call_id(number: int) -> str:
    """Return the id of a call that declares none: nine characters, as the strictest template wants."""
    return f"{number:09d}"


def _call(call: DeclaredCall, text: Callable[[str], str]) -> dict[str, Any]:
    arguments = {key: _value(value, text) for key, value in call.arguments.items()}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _value(value: JsonValue, text: Callable[[str], str]) -> JsonValue:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {key: _value(entry, text) for key, entry in value.items()}
    return [_value(entry, text) for entry in value] if isinstance(value, list) else value
