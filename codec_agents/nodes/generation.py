"""One turn of a model: a request, its retries, and the stream cut by meaning."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import msgspec

from codec_agents.dialects import CallRegion, TurnEvent, TurnReader
from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.events import GenerationFinished, GenerationStarted, IdsReceived, IdsSampled, Port, Retried
from codec_agents.exceptions import EngineError

if TYPE_CHECKING:
    from codec_agents.build import BuiltModel
    from codec_agents.nodes.wiring import Wiring
    from codec_agents.runtime import Run
    from codec_agents.telemetry.spans import NodeScope


@dataclass(slots=True)
class Turn:
    """What one turn gave."""

    number: int
    prompt: list[int]
    generated: list[int] = field(default_factory=list)
    """All ids as sampled, markers and turn end included."""
    regions: list[CallRegion] = field(default_factory=list)
    spans: list[tuple[Port, int, int]] = field(default_factory=list)
    """The lanes of the turn, by position among the generated ids."""
    finish_reason: str | None = None
    stats: list[StreamStats] = field(default_factory=list)
    """One for each request: a retry adds one."""
    reasoning_ids: int = 0
    retries: int = 0

    def note(self, event: TurnEvent) -> Port:
        """Keep where the event lies in the turn; return the port by which its ids leave."""
        if isinstance(event, CallRegion):
            self.regions.append(event)
            self.spans.append(("tool_calls", event.start, event.stop))
            return "tool_calls"
        stop = event.start + len(event.ids)
        if event.port == "reasoning":
            self.reasoning_ids += len(event.ids)
        if self.spans and self.spans[-1][0] == event.port and self.spans[-1][2] == event.start:
            self.spans[-1] = (event.port, self.spans[-1][1], stop)
        else:
            self.spans.append((event.port, event.start, stop))
        return event.port

    @property
    def bytes_received(self) -> int:
        """Body bytes of all its requests."""
        return sum(stats.bytes_received for stats in self.stats)


class Generation:
    """Ask a model for one turn, and hand on its ids as they come."""

    def __init__(self, node: BuiltModel, wiring: Wiring, run: Run, scope: NodeScope) -> None:
        self._node = node
        self._wiring = wiring
        self._run = run
        self._scope = scope

    async def ask(self, prompt: list[int], number: int, *, kept_prefix: int, max_ids: int) -> Turn:
        """Return the whole turn, after its ids have left by their ports.

        A transient failure is tried again as the node's policy says. The stream downstream has no seam: the
        next request continues from the exact prefix, the prompt and all that was received.

        Raises:
            EngineError: the last attempt failed, or the failure was not transient.
        """
        turn = Turn(number, prompt)
        reader = self._node.dialect.reader(prompt)
        if self._run.observed:
            started = GenerationStarted(
                self._node.name, number, tuple(prompt), kept_prefix, self._run.clock()
            )
            await self._run.emit(started)
        delays = self._node.policy.retry.delays()
        while True:
            try:
                await self._stream(turn, reader, max_ids)
                break
            except EngineError as error:
                await self._wait_to_retry(turn, error, next(delays, None))
        await self._hand_on(turn, reader.flush(turn.finish_reason))
        if self._run.observed:
            await self._run.emit(self._finished(turn))
        return turn

    async def _stream(self, turn: Turn, reader: TurnReader, max_ids: int) -> None:
        """Send one request and read it to its end."""
        remaining = max_ids - len(turn.generated)
        with self._scope.call(self._node, turn) as call:
            request = self._request(turn, remaining, call.headers())
            async with AsyncExitStack() as stack:
                with call.attached():
                    frames = await stack.enter_async_context(self._node.engine.stream(request))
                turn.stats.append(frames.stats)
                async for frame in frames:
                    if frame.ids:
                        turn.generated += frame.ids
                        if self._run.observed:
                            sampled = IdsSampled(self._node.name, turn.number, frame.ids, self._run.clock())
                            await self._run.emit(sampled)
                        await self._hand_on(turn, reader.feed(frame.ids))
                    if frame.done:
                        turn.finish_reason = frame.finish_reason

    def _request(self, turn: Turn, max_tokens: int, headers: dict[str, str]) -> GenerationRequest:
        node = self._node
        return GenerationRequest(
            prompt_ids=turn.prompt + turn.generated,
            vocabulary=node.vocabulary,
            model=node.model,
            options=msgspec.structs.replace(node.options, max_tokens=max_tokens),
            headers=headers,
            timeouts=node.timeouts,
        )

    async def _hand_on(self, turn: Turn, events: Iterable[TurnEvent]) -> None:
        """Send what the reader made of the ids out of its port."""
        for event in events:
            port = turn.note(event)
            if self._run.observed:
                received = IdsReceived(
                    self._node.name, port, turn.number, tuple(event.ids), self._run.clock()
                )
                await self._run.emit(received)
            await self._wiring.send(port, event.ids)

    async def _wait_to_retry(self, turn: Turn, error: EngineError, delay: float | None) -> None:
        if delay is None or not error.transient:
            raise error
        turn.retries += 1
        await self._run.emit(
            Retried(self._node.name, turn.number, error, delay, len(turn.generated), self._run.clock())
        )
        await anyio.sleep(delay)

    def _finished(self, turn: Turn) -> GenerationFinished:
        first_id = turn.stats[0].first_id if turn.stats else None
        return GenerationFinished(
            self._node.name,
            turn.number,
            tuple(turn.generated),
            turn.finish_reason,
            tuple(turn.spans),
            turn.bytes_received,
            None if first_id is None else self._run.since_start(first_id),
            self._run.clock(),
        )
