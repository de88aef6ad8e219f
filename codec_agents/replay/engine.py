"""An engine that answers from a record alone."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from codec_agents.engines.base import FrameStream, GenerationRequest, StreamStats
from codec_agents.exceptions import EngineStreamError, ReplayError
from codec_agents.records.compare import first_difference
from codec_agents.records.recorded import RecordedRun, RecordedTurn
from codec_core.frames import CodecFrame

NAME = "record"
"""The name of the engine in errors."""


class RecordStream:
    """The frames of a recorded turn, with the figures of a stream."""

    def __init__(self, frames: AsyncIterator[CodecFrame], stats: StreamStats) -> None:
        self.stats = stats
        self._frames = frames

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        """Yield the frames."""
        return self

    async def __anext__(self) -> CodecFrame:
        frame = await anext(self._frames)
        stats = self.stats
        if frame.ids:
            stats.last_id = time.perf_counter()
            stats.first_id = stats.first_id or stats.last_id
            stats.ids += len(frame.ids)
        stats.finish_reason = frame.finish_reason or stats.finish_reason
        return frame


def stats_of(turn: RecordedTurn) -> StreamStats:
    """Return the figures of a stream for which nothing was sent or received."""
    now = time.perf_counter()
    return StreamStats(format=NAME, request_started=now, request_sent=now, prompt_tokens=turn.prompt_length)


class ReplayEngine:
    """Answers each turn of each node with the recorded ids."""

    name = NAME
    provider = NAME

    def __init__(self, record: RecordedRun, *, digest: str | None = None, speed: float | None = None) -> None:
        """Index the turns of a record.

        Args:
            record: The recorded run.
            digest: The digest of the pipeline that is replayed.
            speed: 1.0 keeps the recorded intervals between ids, 2.0 halves them; None does not wait.
        """
        self._record = record
        self._turns = {(turn.node, turn.number): turn for turn in record.turns}
        self._same = digest is not None and digest == record.header.get("digest")
        self._speed = speed

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Answer a request.

        Raises:
            ReplayError: The record has no such turn, or the turn has another prompt.
        """
        turn = self._find(request)
        frames = self._frames(turn)
        try:
            yield RecordStream(frames, stats_of(turn))
        finally:
            await frames.aclose()

    async def context_length(self, request: GenerationRequest) -> int | None:
        """Return the recorded context: the same prompts are shortened, in the same way."""
        return self._record.context_of(request.node, request.turn)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    def _find(self, request: GenerationRequest) -> RecordedTurn:
        node, number, prompt = request.node, request.turn, request.prompt_ids
        if not number:  # a prefill: it fills an engine's cache, and its answer is discarded
            return RecordedTurn(node, 0, list(prompt), 0, complete=True)
        turn = self._turns.get((node, number))
        if turn is not None:
            position = first_difference(turn.prompt, prompt)
            if position is None:
                return turn
            found = _difference(turn.prompt, prompt, position)
            raise ReplayError(node, found, turn=number, position=position)
        if self._was_stopped(node):
            # Stopped before this turn. An incomplete turn waits in `_stop` until this run stops the node.
            return RecordedTurn(node, number, list(prompt), 0)
        raise ReplayError(node, f"the record has no such turn{self._why()}", turn=number, position=0)

    def _was_stopped(self, node: str) -> bool:
        """Return true if the node was stopped first, because nothing read its output any more."""
        return self._record.complete and self._same and node not in self._record.ends

    def _why(self) -> str:
        if not self._same:
            return "; the pipeline has another declaration than the recorded one"
        return "" if self._record.complete else "; the recorded run has no end"

    async def _frames(self, turn: RecordedTurn) -> AsyncGenerator[CodecFrame, None]:
        began = anyio.current_time()
        for frame, at in zip(turn.frames(), turn.times, strict=True):
            if self._speed is not None:
                await anyio.sleep_until(began + (at - turn.started) / self._speed)
            yield frame
        if not turn.complete:
            await self._stop(turn)
        yield CodecFrame((), done=True, finish_reason=turn.finish_reason)

    async def _stop(self, turn: RecordedTurn) -> None:
        """End a turn without a recorded end as its node ended: by an error, or by being stopped."""
        end = self._record.ends.get(turn.node)
        if end is not None and "error" in end:
            error = f"failed here when it was recorded: {end['error']['message']}"
            raise EngineStreamError(NAME, error, delivered=len(turn.generated), transient=False)
        if self._was_stopped(turn.node):
            await anyio.sleep_forever()
        found = f"the record ends here{self._why()}"
        raise ReplayError(turn.node, found, turn=turn.number, position=len(turn.generated))


def _difference(recorded: Sequence[int], found: Sequence[int], position: int) -> str:
    def at(ids: Sequence[int]) -> str:
        return f"has id {ids[position]}" if position < len(ids) else "ends"

    return (
        f"the recorded prompt {at(recorded)} here, and this one {at(found)}; "
        "replay with the pipeline, maps, functions and tools of the record"
    )
