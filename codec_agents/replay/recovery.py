"""An engine that answers from a record as far as it goes, and asks the engine itself from there on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from codec_agents.engines.base import (
    Engine,
    FrameStream,
    GenerationRequest,
    context_of,
    continues_answers,
    end_reached,
)
from codec_agents.engines.values import shifted
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_agents.records.compare import first_difference
from codec_agents.records.recorded import RecordedRun, RecordedTurn
from codec_agents.replay.engine import RecordStream, stats_of
from codec_core.frames import CodecFrame
from codec_core.frames.values import with_values


class RecoveringEngine:
    """Answers recorded turns from the record, and continues the turn that was cut."""

    def __init__(
        self, record: RecordedRun, behind: Engine, *, failed: Mapping[str, str] | None = None
    ) -> None:
        """Index the turns of a record.

        Args:
            record: The recorded run.
            behind: The engine itself.
            failed: By node: the recorded failure with which its last turn ends again.
        """
        self._failed = failed or {}
        self._record = record
        self._turns = {(turn.node, turn.number): turn for turn in record.turns}
        self._behind = behind
        self.name = behind.name
        self.provider = behind.provider

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the engine itself, such as `continues` or `pool`."""
        return getattr(self._behind, name)

    def stream(self, request: GenerationRequest) -> AbstractAsyncContextManager[FrameStream]:
        """Answer a request; the engine itself answers where the prompt differs from the recorded one.

        Raises:
            EngineError: On entering, when the engine itself is asked and fails.
        """
        turn = self._turns.get((request.node, request.turn))
        if turn is None or first_difference(turn.prompt, request.prompt_ids) is not None:
            return self._behind.stream(request)
        return self._recorded(turn, request)

    async def context_length(self, request: GenerationRequest) -> int | None:
        """Return the recorded context of a recorded turn, and that of the engine itself for any other.

        Raises:
            EngineError: the engine cannot be asked now.
        """
        if (request.node, request.turn) in self._turns:
            return self._record.context_of(request.node, request.turn)
        return await context_of(self._behind, request)

    @asynccontextmanager
    async def _recorded(self, turn: RecordedTurn, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        if (frames := self._without_asking(turn, request)) is not None:
            try:
                yield RecordStream(frames, stats_of(turn))
            finally:
                await frames.aclose()
            return
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self._behind.stream(_rest(turn, request)))
            except EngineError as error:
                # What is recorded is delivered first: a retry then continues behind it, as in the first run.
                frames = _all_then(turn, error)
                stack.push_async_callback(frames.aclose)
                yield RecordStream(frames, stats_of(turn))
            else:
                yield ContinuedStream(turn, stream)

    def _without_asking(
        self, turn: RecordedTurn, request: GenerationRequest
    ) -> AsyncGenerator[CodecFrame, None] | None:
        """Return the frames of a turn that is over or cannot be continued; None for other turns."""
        options = request.options
        if turn.complete:
            return _all_of(turn, turn.finish_reason)
        if turn.node in self._failed:
            found = f"failed here when it was recorded: {self._failed[turn.node]}"
            error = EngineStreamError(self.name, found, delivered=len(turn.generated), transient=False)
            return _all_then(turn, error)
        if (reason := end_reached(turn.generated, options.stop_token_ids, options.max_tokens)) is not None:
            return _all_of(turn, reason)
        if turn.generated and not continues_answers(self._behind):
            # An engine that begins its answer anew would repeat what is recorded, or contradict it.
            found = (
                f"cannot continue turn {turn.number} of node {turn.node!r}, which was cut after "
                f"{len(turn.generated)} ids: it begins its answers anew; run the pipeline again"
            )
            return _all_then(turn, EngineError(self.name, found))
        return None

    async def aclose(self) -> None:
        """Close the engine's connections."""
        await self._behind.aclose()


class ContinuedStream:
    """The recorded frames of a turn that was cut, then those of the request that continues it."""

    def __init__(self, turn: RecordedTurn, behind: FrameStream) -> None:
        self.stats = behind.stats
        self._recorded = turn.frames()
        self._received = len(turn.generated)
        self._behind = aiter(behind)

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        """Yield the frames."""
        return self

    async def __anext__(self) -> CodecFrame:
        for recorded in self._recorded:
            return recorded
        frame = await anext(self._behind)
        if frame.values is None:
            return frame
        return with_values(frame, shifted(frame.values, self._received))


async def _all_of(turn: RecordedTurn, reason: str | None) -> AsyncGenerator[CodecFrame, None]:
    for frame in turn.frames():
        yield frame
    yield CodecFrame((), done=True, finish_reason=reason)


async def _all_then(turn: RecordedTurn, error: EngineError) -> AsyncGenerator[CodecFrame, None]:
    """Yield the recorded frames, which count as delivered, and then fail."""
    for frame in turn.frames():
        yield frame
    raise error


def _rest(turn: RecordedTurn, request: GenerationRequest) -> GenerationRequest:
    left = request.options.max_tokens - len(turn.generated)
    return msgspec.structs.replace(
        request,
        prompt_ids=turn.prompt + turn.generated,
        continued=len(turn.generated),
        options=msgspec.structs.replace(request.options, max_tokens=left),
    )
