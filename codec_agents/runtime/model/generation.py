"""One turn of a model: a request, its retries, and the stream cut by meaning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import msgspec

from codec_agents.dialects import CallRegion, TurnEvent, TurnReader
from codec_agents.engines.base import (
    GenerationRequest,
    SamplingOptions,
    StreamStats,
    continues_answers,
    end_reached,
)
from codec_agents.engines.prompt_body import extended
from codec_agents.events import (
    GenerationFinished,
    GenerationStarted,
    IdsReceived,
    IdsSampled,
    Port,
    Retried,
    Usage,
)
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
)

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltAsking
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.run import Run
    from codec_agents.telemetry.calls import CallScope
    from codec_agents.telemetry.spans import NodeScope

_TRANSIENT_KINDS: tuple[tuple[type[EngineError], str], ...] = (
    (EngineUnavailableError, "connect"),
    (EngineStatusError, "status"),
    (EngineTimeoutError, "timeout"),
    (EngineStreamError, "stream"),
)
"""What a policy's `retry.on` calls the kinds of failure."""


@dataclass(slots=True)
class Turn:
    """What one turn gave so far."""

    number: int
    prompt: list[int]
    kept_prefix: int
    """How many of the prompt's first ids are exactly the turn before."""
    generated: list[int] = field(default_factory=list)
    """All ids as sampled, markers and turn end included."""
    answer: list[int] = field(default_factory=list)
    spans: list[tuple[Port, int, int]] = field(default_factory=list)
    """The lanes of the turn, by position among the generated ids."""
    finish_reason: str | None = None
    stats: list[StreamStats] = field(default_factory=list)
    """One for each request: a retry adds one."""
    reasoning_ids: int = 0
    retries: int = 0
    asked: float = 0.0
    """When the prompt was there, in seconds since the run was made."""
    admitted: float = 0.0
    """When the engine had a place for the first request that got through."""

    reader: TurnReader | None = None
    results: tuple[tuple[int, int], ...] = ()
    """Where the prompt holds the results of the calls of the turn before."""
    on_first_id: Callable[[Turn], Awaitable[None]] | None = None
    """Called once, when the first id is there, or the turn ended without one."""
    on_call: Callable[[CallRegion], None] | None = None
    """Called with each region of calls when it is known, while the turn may still go on."""

    def note(self, event: TurnEvent) -> Port:
        """Keep where the event lies in the turn; return the port by which its ids leave."""
        if isinstance(event, CallRegion):
            if self.on_call is not None:
                self.on_call(event)
            self.spans.append(("tool_calls", event.start, event.stop))
            return "tool_calls"
        stop = event.start + len(event.ids)
        if event.port == "reasoning":
            self.reasoning_ids += len(event.ids)
        else:
            self.answer += event.ids
        port, start = event.port, event.start
        if self.spans:
            last_port, since, until = self.spans[-1]
            if until == start and last_port == port:
                start = since
                del self.spans[-1]
        self.spans.append((port, start, stop))
        return port

    def usage(self) -> Usage:
        """Return the counts of the turn."""
        cached, received, sent = 0, 0, 0
        for stats in self.stats:
            cached = stats.cached_tokens or 0
            received += stats.bytes_received
            sent += stats.bytes_sent
        return Usage(
            prompt_ids=len(self.prompt),
            cached_ids=cached,
            generated_ids=len(self.generated),
            reasoning_ids=self.reasoning_ids,
            turns=1,
            retries=self.retries,
            bytes_received=received,
            bytes_sent=sent,
        )


def _within(options: SamplingOptions, max_tokens: int) -> SamplingOptions:
    if options.max_tokens == max_tokens:
        return options
    return msgspec.structs.replace(options, max_tokens=max_tokens)


class Generation:
    """Ask a model for one turn, and hand on its ids as they come."""

    def __init__(self, node: BuiltAsking, wiring: Wiring, run: Run, scope: NodeScope) -> None:
        self._node = node
        self._wiring = wiring
        self._run = run
        self._scope = scope

    async def ask(self, turn: Turn, *, max_ids: int, enough: Callable[[Turn], bool] | None = None) -> None:
        """Read a whole turn, or as much as is enough, while its ids leave by their ports.

        A transient failure is tried again as the node's policy says. The stream downstream has no seam: the
        next request continues from the exact prefix, the prompt and all that was received. Where an engine
        cannot do that, nothing is tried again behind the first id.

        Raises:
            EngineError: the last attempt failed, or the failure was not transient.
        """
        turn.asked = self._run.clock()
        await self._emit_started(turn)
        delays = self._node.policy.retry.delays()
        while True:
            try:
                await self._stream(turn, max_ids, enough)
                break
            except EngineError as error:
                turn.finish_reason = self._end_reached(turn, error, max_ids)
                if turn.finish_reason is not None:
                    break
                await self._wait_to_retry(turn, error, next(delays, None))
        await self._hand_on(turn, self._reader(turn).flush(turn.finish_reason), observed=self._run.observed)
        await _tell_first_id(turn)
        await self._emit_finished(turn)
        turn.on_call = None

    async def repeat(self, turn: Turn) -> None:
        """Read a turn again that came in an earlier process; its ids have left by their ports already."""
        reader = self._node.dialect.reader(turn.prompt)
        await self._emit_started(turn)
        if self._run.observed:
            ids = tuple(turn.generated)
            await self._run.emit(IdsSampled(self._node.path, turn.number, ids, self._run.clock()))
        for event in [*reader.feed(turn.generated), *reader.flush(turn.finish_reason)]:
            turn.note(event)
        await self._emit_finished(turn)
        turn.on_call = None

    async def _stream(self, turn: Turn, max_ids: int, enough: Callable[[Turn], bool] | None) -> None:
        """Send one request, when the engine has a place for it, and read it to its end."""
        places = self._node.engine_slots
        with self._scope.call(self._node, turn) as call:
            if places is None:
                await self._read(turn, max_ids, enough, call)
            else:
                async with places:
                    await self._read(turn, max_ids, enough, call)

    async def _read(
        self,
        turn: Turn,
        max_ids: int,
        enough: Callable[[Turn], bool] | None,
        call: CallScope,
    ) -> None:
        if not turn.stats:
            turn.admitted = self._run.clock()
        request = self._request(turn, max_ids - len(turn.generated), call.headers())
        async with call.around(self._node.engine.stream(request)) as frames:
            turn.stats.append(frames.stats)
            reader = self._reader(turn)
            async for frame in frames:
                if frame.ids:
                    observed = self._run.observed
                    if observed or turn.on_first_id is not None:
                        await self._tell_sampled(turn, frame.ids)
                    turn.generated += frame.ids
                    await self._hand_on(turn, reader.feed(frame.ids), observed=observed)
                    if enough is not None and enough(turn):
                        return
                if frame.done:
                    turn.finish_reason = frame.finish_reason

    def _reader(self, turn: Turn) -> TurnReader:
        """Return what cuts the turn by meaning; it is made when the request is on its way, not before."""
        if turn.reader is None:
            turn.reader = self._node.dialect.reader(turn.prompt)
        return turn.reader

    async def _tell_sampled(self, turn: Turn, ids: tuple[int, ...]) -> None:
        """Say that ids have arrived."""
        await _tell_first_id(turn)
        if self._run.observed:
            await self._run.emit(IdsSampled(self._node.path, turn.number, ids, self._run.clock()))

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
        )

    async def _hand_on(self, turn: Turn, events: Iterable[TurnEvent], *, observed: bool) -> None:
        """Send what the reader made of the ids out of its port; tell it, where somebody listens."""
        for event in events:
            port = turn.note(event)
            if observed:
                received = IdsReceived(
                    self._node.path, port, turn.number, tuple(event.ids), self._run.clock()
                )
                await self._run.emit(received)
            if (outlet := self._wiring.outlets.get(port)) is not None:
                await outlet.send(event.ids)

    def _end_reached(self, turn: Turn, error: EngineError, max_ids: int) -> str | None:
        stops = self._node.options.stop_token_ids
        return end_reached(turn.generated, stops, max_ids) if error.transient else None

    async def _wait_to_retry(self, turn: Turn, error: EngineError, delay: float | None) -> None:
        kind = next((name for cls, name in _TRANSIENT_KINDS if isinstance(error, cls)), None)
        if delay is None or not error.transient or kind not in self._node.policy.retry.on:
            raise error
        if turn.generated and not continues_answers(self._node.engine):
            raise error
        turn.retries += 1
        delay = max(delay, getattr(error, "retry_after", None) or 0.0)
        kept = len(turn.generated)
        await self._run.emit(Retried(self._node.path, turn.number, error, delay, kept, self._run.clock()))
        await anyio.sleep(delay)

    async def _emit_started(self, turn: Turn) -> None:
        if self._run.observed:
            prompt = tuple(turn.prompt)
            now = self._run.clock()
            await self._run.emit(
                GenerationStarted(self._node.path, turn.number, prompt, turn.kept_prefix, now, turn.results)
            )

    async def _emit_finished(self, turn: Turn) -> None:
        if self._run.observed:
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
                )
            )


async def _tell_first_id(turn: Turn) -> None:
    tell, turn.on_first_id = turn.on_first_id, None
    if tell is not None:
        await tell(turn)
