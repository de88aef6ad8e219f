"""The chat APIs by their paths: how a request is read, and the forms of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from codec_agents.server.answers import Answer
from codec_agents.server.apis.chat import read_chat
from codec_agents.server.apis.chat_answers import ChatDocument, ChatEvents
from codec_agents.server.apis.messages import read_messages
from codec_agents.server.apis.messages_answers import MessagesDocument, MessagesEvents
from codec_agents.server.apis.request import Api, ConversationRequest
from codec_agents.server.apis.responses import read_responses
from codec_agents.server.apis.responses_answers import ResponsesDocument, ResponsesEvents
from codec_agents.server.apis.turn import RANDOM, Mint
from codec_agents.server.backends.backend import Job


@dataclass(frozen=True, slots=True)
class Forms:
    """The two forms in which an API answers, each made of the request, its job and what gives ids."""

    events: Callable[[ConversationRequest, Job, Mint], Answer]
    document: Callable[[ConversationRequest, Job, Mint], Answer]


READERS: Mapping[str, Callable[..., ConversationRequest]] = {
    "/v1/chat/completions": read_chat,
    "/v1/responses": read_responses,
    "/v1/messages": read_messages,
}

FORMS: Mapping[Api, Forms] = {
    "chat": Forms(ChatEvents, ChatDocument),
    "responses": Forms(ResponsesEvents, ResponsesDocument),
    "messages": Forms(MessagesEvents, MessagesDocument),
}


def answer_to(asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> Answer:
    """Return the form of the answer to a request: events or a document of its API."""
    forms = FORMS[asked.api]
    return (forms.events if asked.stream else forms.document)(asked, job, mint)
