"""Look up what a store knows of a request's conversation, beside the event loop where that is long.

A client that names the last response sends next to nothing, and the messages of its conversation are in the
store alone. Equal turns are compared with the request, message by message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, NoReturn

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.messages import Message
from codec_agents.server.apis.prompts import conversation_field
from codec_agents.server.apis.request import ConversationRequest
from codec_agents.server.gateway.broken_turns import place_of_text
from codec_agents.server.gateway.history import Asked, History, history_of
from codec_agents.server.gateway.lineage import Found, Lineage
from codec_agents.server.gateway.store import MOST_SIBLINGS, Store
from codec_agents.server.gateway.tree import Node
from codec_agents.server.http import HttpError
from codec_agents.server.workers import LOOP_BYTES

HASHED_AT_ONCE: Final = 8
"""Times faster than encoding a text is hashing it: how much longer a history may be for one step."""

BETWEEN_SYSTEM: Final = "\n\n"
"""Between system texts that are joined."""


class LongReadingError(Exception):
    """A turn that broke off has to be read, which takes time in proportion to it."""


class LookedUp(NamedTuple):
    """A request and the part of its conversation that is known.

    Fields:
        request: the request, with the messages of the response that it names.
        asked: what identifies its history.
        history: the messages and their keys.
        found: the turn that it continues.
        new: the characters of the messages behind that turn.
        earlier_size: about how many bytes the response that it names takes, with all before it.
    """

    request: ConversationRequest
    asked: Asked
    history: History
    found: Found
    new: int
    earlier_size: int


def work_of_looking_up(request: ConversationRequest, size: int) -> int:
    """Return how much looking up a request's conversation is, in bytes that are encoded."""
    # How long the conversation is that a response ends is only known when it has been read.
    if request.hints.previous_response_id is not None:
        return LOOP_BYTES + 1
    return max(size // HASHED_AT_ONCE, len(request.messages) * MOST_SIBLINGS)


class LookUps:
    """Looks conversations up in one store.

    Args:
        store: the store; threads may share it.
        most_bytes: what a conversation that goes on may take in memory.
    """

    def __init__(self, store: Store, most_bytes: int) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._lineage = Lineage(store)

    def of(
        self,
        request: ConversationRequest,
        model: str,
        dialect: BoundDialect,
        reader: BoundDialect,
        tenant: bytes,
        hints: frozenset[str],
        *,
        reads_long: bool = True,
    ) -> LookedUp:
        """Return what is known of a request's conversation.

        Args:
            request: the request.
            model: the model's name.
            dialect: the dialect of the model.
            reader: the same with the tools of the request.
            tenant: the client.
            hints: the ids in the request.
            reads_long: whether turns that broke off may be read.

        Raises:
            LongReadingError: one would have to be read, and may not.
            HttpError: 400, the conversation is too long; 404, an unknown earlier response.
            PromptError: a result of no call.
        """
        request, earlier = self._with_earlier(request, tenant, dialect)
        if request.hints.previous_response_id is not None:
            hints |= {request.hints.previous_response_id}
        asked = Asked(tenant, model, request.messages, request.offered_tools, request.thinking, hints)
        history = history_of(asked, dialect)
        cut = (
            partial(place_of_text, reader, with_tools=bool(request.offered_tools)) if reads_long else _refuse
        )
        found = self._lineage.find(history, tenant, hints, cut)
        self._require_bounded(found.node, request)
        _require_whole(earlier, found)
        new = sum(len(message.content) for message in history.messages[found.place + 1 :])
        return LookedUp(request, asked, history, found, new, 0 if earlier is None else earlier.whole_size)

    def _with_earlier(
        self, request: ConversationRequest, tenant: bytes, dialect: BoundDialect
    ) -> tuple[ConversationRequest, Node | None]:
        """Return a request with the messages of the response that it names, and that response's turn."""
        earlier = request.hints.previous_response_id
        if earlier is None:
            return request, None
        nonce = self._lineage.mint.nonce_of(earlier, tenant)
        node = None if nonce is None else self._store.by_nonce(tenant, nonce)
        # One answer for all, so that no client learns which ids of others exist.
        if node is None or node.partial or node.private:
            raise HttpError(
                404,
                f"there is no response {earlier[:200]!r}",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        self._require_bounded(node, request)
        own = list(request.messages)
        history = node.history()
        # The API's rule: `instructions` are of one request alone, and come first. No history has them
        # (`_lasting_system`); any other system text is a message, which stays.
        first = 1 if request.echo.get("instructions") else 0
        messages = [*own[:first], *history, *own[first:]]
        if not dialect.repeats_system:
            messages = _system_in_front(messages)
        return replace(request, messages=tuple(messages)), node

    def _require_bounded(self, node: Node | None, request: ConversationRequest) -> None:
        """Refuse to continue a conversation that has become too long.

        The limits of bodies and prompts do not bound it: a client that names the last response sends next to
        nothing, and reasoning that is left out of prompts is kept all the same.
        """
        if node is not None and node.whole_size > self._most_bytes:
            raise HttpError(
                400,
                f"the conversation takes {node.whole_size} bytes of the gateway's memory, and the limit is "
                f"{self._most_bytes}; send a shorter history, which begins a conversation of its own",
                code="context_length_exceeded",
                param=conversation_field(request),
            )


def _refuse(_node: Node, _turn: Message) -> NoReturn:
    raise LongReadingError


def _system_in_front(messages: Sequence[Message]) -> list[Message]:
    """Return messages with their system texts as one, which is the only place for them in some families."""
    texts = [message.content for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    return [Message(role="system", content=BETWEEN_SYSTEM.join(texts)), *others] if texts else others


def _require_whole(earlier: Node | None, found: Found) -> None:
    """Refuse to continue a response by its id whose history is not known as its client sent it.

    Of an answer that broke off, the store has all that was delivered, and the client may have sent back less.
    """
    if earlier is None or (found.node is not None and found.node.nonce == earlier.nonce):
        return
    if any(each.partial for each in earlier.path()):
        raise HttpError(
            400,
            "the response continues an answer that broke off, of which the client sent back a part; send the "
            "whole history instead of the response's id",
            param="previous_response_id",
        )
