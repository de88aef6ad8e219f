"""Generate one turn of a model: a request, its retries, and the stream divided into lanes.

Rules:

- Ids leave by their ports while the turn is generated; what has left is never taken back.
- A retry continues from the exact prefix, the prompt and all ids received, so consumers see no seam.
- Nothing is awaited between a frame and its consumers but the consumers themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import msgspec

from codec_agents.dialects.values import CallRegion
from codec_agents.engines.base import (
    GenerationRequest,
    SamplingOptions,
    continues_answers,
    end_reached,
)
from codec_agents.engines.checked import checked
from codec_agents.engines.prompt_body import extended
from codec_agents.engines.values import TurnValues
from codec_agents.events import GenerationFinished, GenerationStarted, IdsReceived, IdsSampled, Retried
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
)

if TYPE_CHECKING:
    from codec_agents.dialects import TurnEvent, TurnReader
    from codec_agents.plan.nodes import PromptedNode
    from codec_agents.runtime.context import RunContext
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.model.shared_prefix import Leader
    from codec_agents.telemetry.calls import CallScope
    from codec_agents.telemetry.spans import NodeScope
    from codec_agents.turn import Turn
    from codec_core.frames import SampledValues

_log = logging.getLogger(__name__)

_TRANSIENT_KINDS: tuple[tuple[type[EngineError], str], ...] = (
    (EngineUnavailableError, "connect"),
    (EngineStatusError, "status"),
    (EngineTimeoutError, "timeout"),
    (EngineStreamError, "stream"),
)
"""The names of the kinds of failure in a policy's `retry.on`."""


def _within(options: SamplingOptions, max_tokens: int) -> SamplingOptions:
    if options.max_tokens == max_tokens:
        return options
    return msgspec.structs.replace(options, max_tokens=max_tokens)


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom to call while a turn is generated."""

    enough: Callable[[Turn], bool] | None = None
    """Asked after each frame; true ends the turn there."""
    on_call: Callable[[CallRegion], None] | None = None
    """Called with each region of tool calls as soon as it is closed, while the turn may go on."""
    on_first_id: Callable[[Turn], Awaitable[None]] | None = None
    """Called once, when the first id is there or the turn ended without one."""


_NONE = Listeners()


class Generation:
    """Ask a model for turns, and send their ids out of the node's ports as they arrive."""

    def __init__(self, node: PromptedNode, wiring: Wiring, run: RunContext, scope: NodeScope) -> None:
        self._node = node
        self._wiring = wiring
        self._run = run
        self._scope = scope
        self._listeners = _NONE
        self._on_first_id: Callable[[Turn], Awaitable[None]] | None = None
        """The listener to the first id, until it was called."""
        self._reader: TurnReader | None = None
        self._leader: Leader | None = None
        """Set while this request reads a beginning that other requests may wait for."""
        self._held: list[int] | None = None
        """The answer, while it is held back."""

    def hold_answer(self) -> None:
        """Hold the answer of the next turn back; one that is held already is dropped."""
        self._held = []

    async def release_answer(self) -> None:
        """Send the answer that was held back."""
        held, self._held = self._held, None
        if held:
            await self._wiring.send("answer", held)

    async def ask(self, turn: Turn, listeners: Listeners, *, max_ids: int, step: int) -> None:
        """Generate a turn, to its end or until there is enough of it.

        A transient failure is retried as the node's policy says. Where an engine cannot continue from a
        prefix, nothing is retried after the first id.

        Args:
            turn: the turn, with its prompt.
            listeners: called while the turn is generated.
            max_ids: the bound on the ids of the whole turn.
            step: the bound on the ids of one request. A turn that reaches it, and has not reached `max_ids`,
                continues with a further request.

        Raises:
            EngineError: the last attempt failed, or the failure was not transient.
        """
        self._listeners, self._reader = listeners, None
        self._on_first_id = listeners.on_first_id
        try:
            turn.asked = self._run.clock()
            if self._run.observed:
                await self._emit_started(turn)
            await self._request_until(turn, bound := min(step, max_ids))
            while turn.finish_reason == "length" and bound < max_ids:
                received = len(turn.generated)
                await self._request_until(turn, bound := min(received + step, max_ids))
                if len(turn.generated) == received:  # the engine's context is full
                    break
            rest = self._reader_of(turn).flush(turn.finish_reason)
            await self._send_events(turn, rest, observed=self._run.observed)
            if self._on_first_id is not None:
                await self._report_first_id(turn)
            if self._run.observed:
                await self._emit_finished(turn)
        finally:
            # The listeners refer to the conversation: without them, a node is freed at once, however it ends.
            self._listeners, self._on_first_id, self._reader = _NONE, None, None

    async def _request_until(self, turn: Turn, max_ids: int) -> None:
        """Read the turn on until it ends or has so many ids; retry what is transient."""
        turn.finish_reason = None
        delays = self._node.policy.retry.delays()  # anew for each request: a long turn may take many
        while True:
            try:
                return await self._stream(turn, max_ids)
            except EngineError as error:
                turn.finish_reason = self._end_reached(turn, error, max_ids)
                if turn.finish_reason is not None:
                    return None
                await self._wait_to_retry(turn, error, next(delays, None))

    async def repeat(self, turn: Turn, on_call: Callable[[CallRegion], None]) -> None:
        """Read a turn again that was generated before the run was suspended; its ids have left already."""
        reader = self._node.dialect.reader(turn.prompt)
        if observed := self._run.observed:
            await self._emit_started(turn)
            ids = tuple(turn.generated)
            # Without values, which a pause does not hold.
            await self._run.emit(IdsSampled(self._node.path, turn.number, ids, self._run.clock()))
        for event in [*reader.feed(turn.generated), *reader.flush(turn.finish_reason)]:
            turn.note(event)
            if isinstance(event, CallRegion):
                on_call(event)
        if observed:
            await self._emit_finished(turn)

    async def _stream(self, turn: Turn, max_ids: int) -> None:
        """Send one request, when the engine has a free place, and read its stream."""
        places, node = self._node.engine_slots, self._node
        with self._scope.call(node, turn) as call:
            # A turn that continues a conversation has its beginning in the cache, and a record has none.
            if not turn.stats and not turn.kept_prefix and continues_answers(node.engine):
                self._leader = await self._run.shared_prefixes.lead(node.measured, node.model, turn.prompt)
            try:
                if places is None:
                    await self._read(turn, max_ids, call)
                else:
                    async with places:
                        await self._read(turn, max_ids, call)
            finally:
                self._let_others_read(has_read=False)

    def _let_others_read(self, *, has_read: bool) -> None:
        """Let the requests go that wait until this one has read its prompt."""
        leader, self._leader = self._leader, None
        if leader is not None:
            leader.finish(has_read=has_read)

    async def _read(self, turn: Turn, max_ids: int, call: CallScope) -> None:
        if not turn.stats:
            turn.admitted = self._run.clock()
        request = self._request(turn, max_ids - len(turn.generated), call.headers())
        with self._node.measured:
            await self._read_frames(turn, request, call)

    async def _read_frames(self, turn: Turn, request: GenerationRequest, call: CallScope) -> None:
        listeners, engine = self._listeners, self._node.engine
        values = self._values_of(turn)
        async with call.around(engine.stream(request)) as opened:
            frames = checked(engine, opened, self._node.vocabulary)
            turn.stats.append(frames.stats)
            reader = self._reader_of(turn)
            async for frame in frames:
                given = None if values is None else values.add(frame)
                # A frame may have values and no ids: some engines send those of a whole answer at its end.
                if frame.ids or given is not None:
                    if self._leader is not None:
                        self._let_others_read(has_read=True)
                    observed = self._run.observed  # a reader may come or leave between two frames
                    if observed or self._on_first_id is not None:
                        await self._report_sampled(turn, frame.ids, given)
                    turn.generated += frame.ids
                    await self._send_events(turn, reader.feed(frame.ids), observed=observed)
                    if listeners.enough is not None and listeners.enough(turn):
                        return
                if frame.done:
                    turn.finish_reason = frame.finish_reason

    def _values_of(self, turn: Turn) -> TurnValues | None:
        """Return what keeps the turn's values, where they are asked for, ready for a further request."""
        options = self._node.options
        if options.logprobs is None:
            return None
        if turn.values is None:
            turn.values = TurnValues(self._node.engine.name, options)
        turn.values.begin(len(turn.generated))
        return turn.values

    def _reader_of(self, turn: Turn) -> TurnReader:
        """Return the reader of a turn, which all its requests share.

        It is created after the request was sent: creating it must not delay the request.
        """
        if self._reader is None:
            self._reader = self._node.dialect.reader(turn.prompt)
        return self._reader

    def _request(self, turn: Turn, max_tokens: int, headers: dict[str, str]) -> GenerationRequest:
        node = self._node
        return GenerationRequest(
            prompt_ids=extended(turn.prompt, turn.generated) if turn.generated else turn.prompt,
            vocabulary=node.vocabulary,
            model=node.model,
            options=_within(node.options, max_tokens),
            headers=headers,
            timeouts=node.timeouts,
            node=node.path,
            turn=turn.number,
            continued=len(turn.generated),
            session=self._run.session_of(node.path),
            stream_interval=node.stream_interval,
            dialect=node.dialect,
        )

    async def _send_events(self, turn: Turn, events: Iterable[TurnEvent], *, observed: bool) -> None:
        """Send what the reader made of the ids out of its port; emit it where an observer wants it."""
        for event in events:
            port = turn.note(event)
            # Before anything that may wait for a consumer: the call can run while the turn is generated.
            if port == "tool_calls" and self._listeners.on_call is not None:
                assert isinstance(event, CallRegion)
                self._listeners.on_call(event)
            if observed:
                received = IdsReceived(
                    self._node.path, port, turn.number, tuple(event.ids), self._run.clock()
                )
                await self._run.emit(received)
            if port == "answer" and self._held is not None:
                self._held += event.ids
            elif (outlet := self._wiring.outlets.get(port)) is not None:
                await outlet.send(event.ids)

    def _end_reached(self, turn: Turn, error: EngineError, max_ids: int) -> str | None:
        """Return the finish reason of a turn that had ended by itself before the stream broke; else None."""
        stops = self._node.options.stop_token_ids
        return end_reached(turn.generated, stops, max_ids) if error.transient else None

    async def _wait_to_retry(self, turn: Turn, error: EngineError, delay: float | None) -> None:
        kind = next((name for cls, name in _TRANSIENT_KINDS if isinstance(error, cls)), None)
        if delay is None or not error.transient or kind not in self._node.policy.retry.on:
            raise error
        # It would begin the answer anew, behind what has left.
        if turn.generated and not continues_answers(self._node.engine):
            raise error
        turn.retries += 1
        # The policy bounds the time that a server asks for: a hostile header would hold the run for ever.
        asked = min(getattr(error, "retry_after", None) or 0.0, self._node.policy.retry.max)
        delay = 0.0 if error.elsewhere else max(delay, asked)  # another replica can take it at once
        kept = len(turn.generated)
        _log.warning(
            "run %s, node %s: turn %d is asked again in %.1f s: %s",
            self._run.run_id,
            self._node.path,
            turn.number,
            delay,
            error,
        )
        await self._run.emit(Retried(self._node.path, turn.number, error, delay, kept, self._run.clock()))
        await anyio.sleep(delay)

    async def _report_sampled(self, turn: Turn, ids: tuple[int, ...], values: SampledValues | None) -> None:
        await self._report_first_id(turn)
        if self._run.observed:
            await self._run.emit(IdsSampled(self._node.path, turn.number, ids, self._run.clock(), values))

    async def _report_first_id(self, turn: Turn) -> None:
        report, self._on_first_id = self._on_first_id, None
        if report is not None:
            await report(turn)

    async def _emit_started(self, turn: Turn) -> None:
        prompt = tuple(turn.prompt)
        now = self._run.clock()
        await self._run.emit(
            GenerationStarted(self._node.path, turn.number, prompt, turn.kept_prefix, now, turn.results)
        )

    async def _emit_finished(self, turn: Turn) -> None:
        await self._run.emit(
            GenerationFinished(
                self._node.path,
                turn.number,
                tuple(turn.generated),
                turn.finish_reason,
                tuple(turn.spans),
                sum(stats.bytes_received for stats in turn.stats),
                self._run.since_start(turn.stats[0].first_id if turn.stats else None),
                self._run.clock(),
                turn.engine_report(),
            )
        )
