"""Chats become prompts, by the dialect of the model's family.

Control ids come from the dialect's forms alone, whatever the messages spell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.exceptions import DialectError, PromptError
from codec_agents.server.apis.families import require_dialect
from codec_agents.server.apis.request import ConversationRequest, require_arguments
from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_core.vocabulary import Vocabulary


def chat_prompt(request: ConversationRequest, vocabulary: Vocabulary) -> list[int]:
    """Return the prompt that asks for the assistant's turn, in token ids.

    Raises:
        HttpError: 400, the model's map names no family, or the family has no form for a message or a tool.
    """
    dialect = require_dialect(vocabulary)
    # Dialects write arguments as objects. The client's text of them is for comparing alone.
    require_arguments(request)
    try:
        return dialect.write(request.messages, tools=request.offered_tools, thinking=request.thinking)
    except (PromptError, DialectError) as error:
        raise HttpError(
            400, f"the chat cannot be written for this model: {error}", param=conversation_field(request)
        ) from error


def conversation_field(request: ConversationRequest) -> str:
    """Return the API's name of the field that holds the conversation."""
    return "input" if request.api == "responses" else "messages"
