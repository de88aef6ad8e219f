"""The requests of one gateway, from a client's messages to the turn that is stored.

Rules that hold in this file:

- A turn is stored before the end of its answer is sent: what a client has whole, it can continue.
- What the client got is what it can send back. So the turn that is stored is made of the pieces that were
  sent, and of no second reading of the ids.
- Nothing in proportion to a long history or answer happens on the event loop: neither a look-up in the
  store, nor a comparison with the turns that are found, nor the storing of a turn. Whatever waits for a disk
  happens in a thread.
- Turns that are stored in a thread are stored by one, in the order in which their answers end. Storing is
  not cancelled: of a client that leaves, the turn is kept as far as it was delivered.
- The event loop alone counts.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.server.apis.prompts import conversation_field
from codec_agents.server.apis.request import ConversationRequest
from codec_agents.server.bodies import DEFAULTS
from codec_agents.server.gateway.continuation import Continuation, ReasoningRules, continue_history
from codec_agents.server.gateway.kept_values import KeptValues
from codec_agents.server.gateway.look_ups import (
    BETWEEN_SYSTEM,
    HASHED_AT_ONCE,
    LongReadingError,
    LookedUp,
    LookUps,
    work_of_looking_up,
)
from codec_agents.server.gateway.mint import Mint, new_nonce
from codec_agents.server.gateway.run_records import Capture, ConversationRecords
from codec_agents.server.gateway.spans import spans_of
from codec_agents.server.gateway.store import MemoryStore, OneAtATime, Store
from codec_agents.server.gateway.tool_choice import begun_ids
from codec_agents.server.gateway.tracing import RequestSpan
from codec_agents.server.gateway.tree import IDS, Node
from codec_agents.server.http import HttpError
from codec_agents.server.parts import Part
from codec_agents.server.workers import LOOP_BYTES, Workers
from codec_core.frames import CodecFrame

CALL_PREFIXES: Final = ("call_", "toolu_")
"""How ids of calls begin, which results name."""

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
        self.store = OneAtATime(store)
        self.records = records
        self.counts = Counts(Counter())
        self._workers = workers
        self._writer = Workers(threads=1)
        self._waits = not isinstance(store, MemoryStore)
        """Whether an access to the store may wait for a disk."""
        self._rules = rules or ReasoningRules()
        self._clock = clock
        self._mint = Mint(store.secret)
        self._look_ups = LookUps(self.store, most_bytes)

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
        hints = frozenset(hint for minted in request.hints.minted.values() for hint in minted)
        tools = request.offered_tools
        reader = dialect.with_tools(tools) if tools else dialect
        looking = partial(self._look_ups.of, request, model, dialect, reader, tenant, hints)
        try:
            known = await self._looked_up(looking, work_of_looking_up(request, size))
            request, found = known.request, known.found
            writing = partial(continue_history, known.asked, known.history, found, dialect, self._rules)
            if found.node is None:  # all is written, and of an earlier response all that is before it
                work = size + known.earlier_size
            else:  # ids since a place behind which reasoning may be left out are read, and others copied
                work = known.new + found.node.length // HASHED_AT_ONCE
            continuation = await self._workers.run(writing, work)
            continuation = continuation.beginning(begun_ids(request, continuation, dialect))
        except (PromptError, DialectError) as error:
            raise HttpError(
                400, f"the chat cannot be written for this model: {error}", param=conversation_field(request)
            ) from error
        if counts:
            self._count(continuation)
        return Exchange(self, request, continuation, reader)

    def _count(self, continuation: Continuation) -> None:
        counts, verdict = self.counts, continuation.verdict
        counts.requests[verdict.kind] += 1
        counts.kept += continuation.kept
        counts.inserted += len(continuation.prompt) - continuation.kept
        counts.ambiguous += verdict.equal > 1

    async def _looked_up(self, looking: Callable[..., LookedUp], work: int) -> LookedUp:
        """Return what is known of a request, looked up in a thread where that is long or waits for a disk."""
        if work <= LOOP_BYTES and not self._waits:
            try:
                return await self.store.use(partial(looking, reads_long=False))
            except LongReadingError:  # known only when the turn is found
                pass
        return await self._workers.run_beside(looking)

    async def storing(self, step: Callable[[], Node], size: int) -> None:
        """Run a step that stores a turn; it runs to its end even if the caller is cancelled.

        Args:
            step: makes the turn, calls `keep` and returns it.
            size: the ids and characters of the turn.
        """
        with anyio.CancelScope(shield=True):
            if size <= LOOP_BYTES and not self._waits and self.records is None:
                node = await self.store.use(step)
            else:
                node = await self._writer.run_beside(step)
        if node.partial:
            self.counts.broken += 1
        else:
            self.counts.stored += 1

    def keep(self, conversation: str, node: Node, capture: Capture | None) -> None:
        """Write a turn to the record of its conversation, and store it.

        Raises:
            RecordError: it could not be recorded; it is not stored then.
            StoreError: it could not be stored.
        """
        # At the end of the answer: of equal turns, the one delivered last is continued.
        node.created = self._clock()
        # The record first: a turn that is in the store alone would be in no record ever.
        if self.records is not None and capture is not None:
            self.records.write(conversation, node, capture)
        self.store.add(node)

    def new_id(self, prefix: str, tenant: bytes, nonce: bytes, number: int) -> str:
        """Return an id that a client gets."""
        return self._mint.new_id(prefix, tenant, nonce, number)


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
        self._size = 0
        """The ids and characters of the turn so far."""
        self._reason: str | None = None
        """That of the last frame; None before it."""
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
            self._size += len(part.text)
            if part.call is None:
                self._texts[part.lane].append(part.text)
            else:
                call = part.call
                self._calls.append(MessageCall(call.name, call.arguments, call.call_id, part.arguments))

    def sampled(self, frame: CodecFrame, cached: int | None = None) -> None:
        """Take the ids of a frame, before it is sent; the last frame ends the turn.

        Args:
            frame: the frame.
            cached: ids of the prompt that the engine had in its cache.
        """
        # A repeated answer, whose turn is stored already.
        if self.node is not None:
            return
        self._sampled.extend(frame.ids)
        self._size += len(frame.ids)
        # Values that were asked for a record alone are for no client.
        if frame.values is not None and self._request.logprobs is not None:
            self.values.add(frame.values)
        if self.capture is not None and self._conversations.records is not None:
            self.capture.frames.append((self._conversations.records.now(), frame.ids, frame.values))
            self.capture.cached = cached
        if frame.done:
            # Not every engine gives a reason. The client is told "stop", so the turn is stored as whole.
            self._reason = frame.finish_reason or "stop"

    async def ending(self) -> None:
        """Store the turn, whose last frame is about to be sent.

        Raises:
            StoreError: it could not be stored, so the client must not believe that it has it.
            RecordError: it could not be recorded.
        """
        if self.node is None:
            await self._store(self._reason, broken=self._reason in BROKEN)

    async def over(self) -> None:
        """End the exchange, however its answer ended; store what was delivered of a turn without an end."""
        try:
            if not self._tried and self.node is None and self._sampled:
                await self._store(None, broken=True)
        finally:
            self.values.pack(len(self._sampled))
            self.capture = None
            self.ended.set()
            if self.span is not None:
                self.span.end(self.node)

    async def _store(self, reason: str | None, *, broken: bool) -> None:
        # Once: a store that fails does so behind the record, which would get the same ids as a second row.
        self._tried = True
        step = partial(self._keep, reason, self.capture, broken=broken)
        await self._conversations.storing(step, self._size)

    def _keep(self, reason: str | None, capture: Capture | None, *, broken: bool) -> Node:
        """Store the turn, and return it; in a thread, while the exchange waits for it."""
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
            partial=broken,
            private=not self._request.store,
            system=self._lasting_system(),
            # Empty for a client of frames, which gets none.
            call_ids=tuple(call.id or next(minted, "") for call in self._calls),
            spans=spans_of(self._dialect, self.continuation, self._sampled, reason, with_tools=with_tools),
        )
        self._conversations.keep(self.session, node, capture)
        self.node = node
        return node

    def _lasting_system(self) -> str | None:
        """Return the system text that the API keeps with a conversation: `instructions` are not."""
        system = self.continuation.history.system
        if system is None:
            return None
        instructions = self._request.echo.get("instructions") if self._request.api == "responses" else None
        if not instructions:
            return system.content
        # Behind them are the texts that are joined with them, where the family has one place for all.
        return system.content.removeprefix(instructions).removeprefix(BETWEEN_SYSTEM) or None
