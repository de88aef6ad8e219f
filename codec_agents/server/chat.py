"""Chats become prompts and prompts become chats, both by the dialect of the model's family.

Rules that hold in this file:

- The server knows no family. `codec_agents.dialects` writes and reads, for every map that names one.
- Control ids come from the dialect's forms alone, whatever the messages spell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codec_agents.exceptions import DialectError, PromptError
from codec_agents.server.bodies import ChatBody, ChatMessage, call_arguments
from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_agents.dialects.bound import BoundDialect
    from codec_agents.dialects.messages import Message
    from codec_core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that a client declares, as dialects declare it to the model."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def dialect_of(vocabulary: Vocabulary) -> BoundDialect | None:
    """Return the dialect of a model; None where its map names no family."""
    # Dialects are imported with the first chat: a server of frames alone never needs them.
    from codec_agents.dialects import family_dialect

    return family_dialect(vocabulary)


def chat_prompt(body: ChatBody, vocabulary: Vocabulary) -> list[int]:
    """Return the prompt that asks for the assistant's turn, in token ids.

    Raises:
        HttpError: 400, the model's map names no family, or the family has no form for a message or a tool.
    """
    dialect = dialect_of(vocabulary)
    if dialect is None:
        raise HttpError(
            400,
            f"the map {vocabulary.id!r} names no model family, so there is no form for a chat; send a prompt "
            "to /v1/completions",
            code="no_chat_form",
        )
    messages = [_message(message) for message in body.messages]
    tools = [_tool(tool) for tool in body.offered_tools]
    try:
        return dialect.write(messages, tools=tools)
    except (PromptError, DialectError) as error:
        raise HttpError(
            400, f"the chat cannot be written for this model: {error}", param="messages"
        ) from error


def _message(message: ChatMessage) -> Message:
    from codec_agents.dialects.messages import Message, MessageCall

    calls = [
        MessageCall(call.function.name, call_arguments(call), call.id) for call in message.tool_calls or ()
    ]
    return Message(
        # OpenAI's newer name for the role; dialects call it `system`, whatever their own turn is named.
        role="system" if message.role == "developer" else message.role,
        content=message.text,
        calls=tuple(calls),
        call_id=message.tool_call_id,
    )


def _tool(tool: Mapping[str, Any]) -> OfferedTool:
    function = tool["function"]
    return OfferedTool(
        function["name"], str(function.get("description") or ""), function.get("parameters") or {}
    )
