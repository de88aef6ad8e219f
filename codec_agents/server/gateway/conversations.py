"""The requests of one gateway, from a client's messages to the turn that is stored.

Rules that hold in this file:

- A turn is stored before the end of its answer is sent: what a client has whole, it can continue.
- What the client got is what it can send back. So the turn that is stored is made of the pieces that were
  sent, and of no second reading of the ids.
- Nothing in proportion to a long history happens on the event loop but one look-up in the store.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import anyio

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.server.apis.prompts import conversation_field
from codec_agents.server.apis.request import ConversationRequest
from codec_agents.server.bodies import DEFAULTS
from codec_agents.server.gateway.broken_turns import place_of_text
from codec_agents.server.gateway.continuation import Continuation, ReasoningRules, continue_history
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.server.gateway.kept_values import KeptValues
from codec_agents.server.gateway.lineage import Found, Lineage
from codec_agents.server.gateway.mint import new_nonce
from codec_agents.server.gateway.run_records import Capture, ConversationRecords
from codec_agents.server.gateway.spans import spans_of
from codec_agents.server.gateway.store import Store
from codec_agents.server.gateway.tool_choice import begun_ids
from codec_agents.server.gateway.tracing import RequestSpan
from codec_agents.server.gateway.tree import IDS, Node
from codec_agents.server.http import HttpError
from codec_agents.server.parts import Part
from codec_agents.server.workers import Workers
from codec_core.frames import CodecFrame

if TYPE_CHECKING:
    from codec_agents.tools.tool import Tool

CALL_PREFIXES: Final = ("call_", "toolu_")
"""How ids of calls begin, which results name."""

HASHED_AT_ONCE: Final = 8
"""Times faster than encoding a text is hashing it: how much longer a history may be for one step."""

BROKEN: Final = frozenset({"error", "abort"})
"""Reasons of turns that are no whole answer."""


@dataclass(slots=True)
class Counts:
    """The counts of one gateway since its start.

    Fields:
        requests: by the kind of their lineage.
        kept: ids of prompts that were known.
        inserted: ids of prompts that were written.
        ambiguous: requests for which several equal turns were known.
        stored: turns that were stored whole.
        broken: turns that were stored as broken off.
    """

    requests: Counter[str]
    kept: int = 0
    inserted: int = 0
    ambiguous: int = 0
    stored: int = 0
    broken: int = 0


class Conversations:
    """Continues the conversations of one store."""

    def __init__(
        self,
        store: Store,
        workers: Workers,
        rules: ReasoningRules | None = None,
        *,
        records: ConversationRecords | None = None,
        most_bytes: int = DEFAULTS.max_conversation,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.records = records
        self.counts = Counts(Counter())
        self._workers = workers
        self._rules = rules or ReasoningRules()
        self._most_bytes = most_bytes
        self._clock = clock
        self._lineage = Lineage(store)

    async def begin(
        self,
        request: ConversationRequest,
        model: str,
        dialect: BoundDialect,
        tenant: bytes,
        *,
        size: int,
        counts: bool = True,
    ) -> Exchange:
        """Return the exchange of a request, with its prompt.

        Args:
            request: the request.
            model: the model's name.
            dialect: the dialect of the model.
            tenant: the client.
            size: the bytes of its body.
            counts: whether the request is counted.

        Raises:
            HttpError: 400, the messages cannot be written for the model, or their conversation is too long;
                404, an unknown earlier response.
        """
        request, earlier = self._with_earlier(request, tenant)
        hints = frozenset(hint for minted in request.hints.minted.values() for hint in minted)
        if request.hints.previous_response_id is not None:
            hints |= {request.hints.previous_response_id}
        asked = Asked(tenant, model, request.messages, request.offered_tools, request.thinking, hints)
        tools = cast("Sequence[Tool]", request.offered_tools)  # reading looks at names and schemas alone
        reader = dialect.with_tools(tools) if tools else dialect
        try:
            reading = partial(history_of, asked, dialect)
            history = await self._workers.run(reading, size // HASHED_AT_ONCE)
            cut = partial(place_of_text, reader, with_tools=bool(request.offered_tools))
            found = self._lineage.find(history, tenant, hints, cut)
            self._require_bounded(found.node, request)
            _require_whole(earlier, found)
            new = sum(len(message.content) for message in history.messages[found.place + 1 :])
            new = size if found.node is None else new
            writing = partial(continue_history, asked, history, found, dialect, self._rules)
            continuation = await self._workers.run(writing, new)
            continuation = continuation.beginning(begun_ids(request, continuation, dialect))
        except (PromptError, DialectError) as error:
            raise HttpError(
                400, f"the chat cannot be written for this model: {error}", param=conversation_field(request)
            ) from error
        if counts:
            self._count(continuation)
        return Exchange(self, request, continuation, reader)

    def _with_earlier(
        self, request: ConversationRequest, tenant: bytes
    ) -> tuple[ConversationRequest, Node | None]:
        """Return a request with the messages of the response that it names, and that response's turn."""
        earlier = request.hints.previous_response_id
        if earlier is None:
            return request, None
        nonce = self._lineage.mint.nonce_of(earlier, tenant)
        node = None if nonce is None else self.store.by_nonce(tenant, nonce)
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

    def _count(self, continuation: Continuation) -> None:
        counts, verdict = self.counts, continuation.verdict
        counts.requests[verdict.kind] += 1
        counts.kept += continuation.kept
        counts.inserted += len(continuation.prompt) - continuation.kept
        counts.ambiguous += verdict.equal > 1

    def store_turn(self, node: Node) -> None:
        """Store a turn.

        Raises:
            StoreError: it could not be stored.
        """
        # At the end of the answer: of equal turns, the one delivered last is continued.
        node.created = self._clock()
        self.store.add(node)
        if node.partial:
            self.counts.broken += 1
        else:
            self.counts.stored += 1

    def record_turn(self, conversation: str, node: Node, capture: Capture | None) -> None:
        """Write a turn to the record of its conversation.

        Raises:
            RecordError: it could not be written.
        """
        if self.records is not None and capture is not None:
            node.created = self._clock()
            self.records.write(conversation, node, capture)

    def new_id(self, prefix: str, tenant: bytes, nonce: bytes, number: int) -> str:
        """Return an id that a client gets."""
        return self._lineage.mint.new_id(prefix, tenant, nonce, number)


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


class Exchange:
    """One request and its answer, until its turn is stored.

    Attributes:
        continuation: the prompt, and its place in the tree.
        nonce: the number of the turn, in all ids that the client gets.
        node: the stored turn; None until then.
    """

    def __init__(
        self,
        conversations: Conversations,
        request: ConversationRequest,
        continuation: Continuation,
        dialect: BoundDialect,
        nonce: bytes | None = None,
    ) -> None:
        self.continuation = continuation
        self.nonce = nonce or new_nonce()
        self.node: Node | None = None
        self.span: RequestSpan | None = None
        self.capture: Capture | None = None
        """Gathers what a record has of the turn; None where conversations are not recorded."""
        self.values = KeptValues()
        """Those of the sampled ids, for a client that asks for the same answer again."""
        self.ended = anyio.Event()
        """Set when the answer is over, however it ended."""
        self._conversations = conversations
        self._request = request
        self._dialect = dialect
        self._minted = 0
        self._call_ids: list[str] = []
        self._texts: dict[str, list[str]] = {"answer": [], "reasoning": []}
        self._calls: list[MessageCall] = []
        self._sampled: array[int] = array(IDS)
        self._tried = False
        """Whether the turn was given to its record and to the store, even if one of them failed."""

    def again(self) -> Exchange:
        """Return an exchange that gives the same answer once more, with the same ids."""
        repeated = Exchange(self._conversations, self._request, self.continuation, self._dialect, self.nonce)
        repeated.node, repeated.values = self.node, self.values
        return repeated

    @property
    def session(self) -> str:
        """The name of the conversation, the same for all its turns."""
        parent = self.continuation.parent
        root = self.nonce if parent is None else [*parent.path()][-1].nonce
        return root.hex()

    def mint(self, prefix: str) -> str:
        """Return an id of this turn."""
        given = self._conversations.new_id(prefix, self.continuation.tenant, self.nonce, self._minted)
        self._minted += 1
        if prefix in CALL_PREFIXES:
            self._call_ids.append(given)
        return given

    def heard(self, parts: Sequence[Part]) -> None:
        """Take pieces of the answer, as the client gets them."""
        for part in parts:
            if part.call is None:
                self._texts[part.lane].append(part.text)
            else:
                call = part.call
                self._calls.append(MessageCall(call.name, call.arguments, call.call_id, part.arguments))

    def sampled(self, frame: CodecFrame, cached: int | None = None) -> None:
        """Take the ids of a frame, before it is sent; the last frame ends the turn, which is stored.

        Args:
            frame: the frame.
            cached: ids of the prompt that the engine had in its cache.

        Raises:
            StoreError: it could not be stored.
            RecordError: it could not be recorded.
        """
        # A repeated answer, whose turn is stored already.
        if self.node is not None:
            return
        self._sampled.extend(frame.ids)
        # Values that were asked for a record alone are for no client.
        if frame.values is not None and self._request.logprobs is not None:
            self.values.add(frame.values)
        if self.capture is not None and self._conversations.records is not None:
            self.capture.frames.append((self._conversations.records.now(), frame.ids, frame.values))
            self.capture.cached = cached
        if frame.done:
            # Not every engine gives a reason. The client is told "stop", so the turn is stored as whole.
            reason = frame.finish_reason or "stop"
            self._store(reason, partial=reason in BROKEN)

    def over(self) -> None:
        """End the exchange, however its answer ended; store what was delivered of a turn without an end."""
        try:
            if not self._tried and self.node is None and self._sampled:
                self._store(None, partial=True)
        finally:
            self.values.pack(len(self._sampled))
            self.capture = None
            self.ended.set()
            if self.span is not None:
                self.span.end(self.node)

    def _store(self, reason: str | None, *, partial: bool) -> None:
        # Once: a store that fails does so behind the record, which would get the same ids as a second row.
        self._tried = True
        turn = Message(
            role="assistant",
            content="".join(self._texts["answer"]),
            reasoning="".join(self._texts["reasoning"]) or None,
            calls=tuple(self._calls),
        )
        # Some families write ids of calls, and clients get those. The others have ours, in order.
        minted = iter(self._call_ids)
        # As the client's answer was read: families whose calls are plain text have none without tools.
        with_tools = bool(self._request.offered_tools)
        node = self.continuation.answered(
            self._sampled,
            turn,
            nonce=self.nonce,
            finish_reason=reason,
            partial=partial,
            private=not self._request.store,
            system=self._lasting_system(),
            # Empty for a client of frames, which gets none.
            call_ids=tuple(call.id or next(minted, "") for call in self._calls),
            spans=spans_of(self._dialect, self.continuation, self._sampled, reason, with_tools=with_tools),
        )
        # The record first: a turn that is in the store alone would be in no record ever.
        self._conversations.record_turn(self.session, node, self.capture)
        self._conversations.store_turn(node)
        self.node = node

    def _lasting_system(self) -> str | None:
        """Return the system text that the API keeps with a conversation: `instructions` are not."""
        system = self.continuation.history.system
        brought = self._request.api == "responses" and self._request.echo.get("instructions")
        return None if system is None or brought else system.content
