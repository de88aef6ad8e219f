"""An engine that answers from a record: nobody is asked, and nothing is made up."""

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
"""What errors call the engine that answers from a record."""


class RecordStream:
    """The frames of a recorded turn, and of what is asked for after them."""

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
    """Return the figures of a stream that has come from nowhere: nothing was sent or received."""
    now = time.perf_counter()
    return StreamStats(format=NAME, request_started=now, request_sent=now, prompt_tokens=len(turn.prompt))


class ReplayEngine:
    """Answers each turn of each node as the record has it."""

    name = NAME
    provider = NAME

    def __init__(self, record: RecordedRun, *, digest: str | None = None, speed: float | None = None) -> None:
        """Begin.

        Args:
            record: What happened.
            digest: That of the pipeline which is replayed.
            speed: 1.0 lets ids come as far apart as they came, 2.0 twice as fast; None without any wait.
        """
        self._record = record
        self._turns = {(turn.node, turn.number): turn for turn in record.turns}
        self._same = digest == record.header.get("digest")
        self._speed = speed

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Answer a request.

        Raises:
            ReplayError: the record has no such turn, or it has another prompt.
        """
        turn = self._find(request)
        frames = self._frames(turn)
        try:
            yield RecordStream(frames, stats_of(turn))
        finally:
            await frames.aclose()

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    def _find(self, request: GenerationRequest) -> RecordedTurn:
        node, number, prompt = request.node, request.turn, request.prompt_ids
        if not number:  # sent ahead, to warm an engine's cache: nobody reads the answer
            return RecordedTurn(node, 0, list(prompt), 0, complete=True)
        turn = self._turns.get((node, number))
        if turn is not None:
            position = first_difference(turn.prompt, prompt)
            if position is None:
                return turn
            found = _difference(turn.prompt, prompt, position)
            raise ReplayError(node, found, turn=number, position=position)
        if self._was_stopped(node):
            return RecordedTurn(node, number, list(prompt), 0)
        raise ReplayError(node, f"the record has no such turn{self._why()}", turn=number, position=0)

    def _was_stopped(self, node: str) -> bool:
        """Whether the node never came so far, because nobody listened to it any more."""
        return self._record.complete and self._same and node not in self._record.ends

    def _why(self) -> str:
        if not self._same:
            return "; the pipeline is declared otherwise than the recorded one"
        return "" if self._record.complete else "; the recorded run did not come to its end"

    async def _frames(self, turn: RecordedTurn) -> AsyncGenerator[CodecFrame, None]:
        began = anyio.current_time()
        for batch, at in zip(turn.batches, turn.times, strict=True):
            if self._speed is not None:
                await anyio.sleep_until(began + (at - turn.started) / self._speed)
            yield CodecFrame(tuple(batch), done=False)
        if not turn.complete:
            await self._stop(turn)
        yield CodecFrame((), done=True, finish_reason=turn.finish_reason)

    async def _stop(self, turn: RecordedTurn) -> None:
        """End a turn that has no end as it was ended: by an error, or by being stopped."""
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
