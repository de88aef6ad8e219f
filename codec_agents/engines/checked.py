"""The checks of an answer that every engine passes, one of a user's own included.

The engines of this package check while they read. Any other engine is read through `checked`, which
costs a call per frame.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from codec_agents.engines.base import FAILED_REASONS, Engine, FrameStream, StreamStats, failed_answer
from codec_agents.engines.prompt_body import invalid_id
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary


def checked(engine: Engine, frames: FrameStream, vocabulary: Vocabulary) -> FrameStream:
    """Return the frames of an engine's answer, checked.

    Args:
        engine: the engine; one whose attribute `checks_answers` is true is taken at its word.
        frames: its stream.
        vocabulary: the vocabulary of the answer.
    """
    if getattr(engine, "checks_answers", False):
        return frames
    return CheckedStream(engine.name, frames, vocabulary)


def require_engine(found: object) -> None:
    """Check that an object can be an engine.

    Raises:
        TypeError: it has no method `stream` or `aclose`, or no text as `name` or `provider`.
    """
    # `isinstance` with the protocol would not tell which of them is missing.
    for what, there in (
        ("method `stream(request)`", callable(getattr(found, "stream", None))),
        ("attribute `name`", isinstance(getattr(found, "name", None), str)),
        ("attribute `provider`", isinstance(getattr(found, "provider", None), str)),
        ("method `aclose()`", callable(getattr(found, "aclose", None))),
    ):
        if not there:
            raise TypeError(f"{type(found).__name__} is not an engine: it has no {what}")


class CheckedStream:
    """A stream whose frames keep the contract: ids of the map, one end, and nothing after it."""

    def __init__(self, engine: str, frames: Any, vocabulary: Vocabulary) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        # A stream of a user's own may have none: a run without figures is better than no run.
        stats = getattr(frames, "stats", None)
        self.stats = stats if isinstance(stats, StreamStats) else StreamStats()
        # Looked up as `aiter` does, whose `TypeError` would not name the engine.
        if not hasattr(type(frames), "__aiter__"):
            raise EngineError(
                engine, f"its stream is a {type(frames).__name__}, which cannot be iterated over"
            )
        self._frames = aiter(frames)
        self._delivered = 0
        self._done = False
        self._failure: EngineStreamError | None = None
        """The engine's own failure, raised after the ids of the frame that reported it."""

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        """Return the next frame.

        Raises:
            EngineStreamError: a frame is none, holds an id that is not in the map, or follows the last one;
                or the stream ended without a last frame, or with a failure.
        """
        if self._failure is not None:
            raise self._failure
        try:
            frame = await anext(self._frames)
        except StopAsyncIteration:
            if not self._done:  # as a lost connection looks, which a retry may not meet
                raise self._broken("the answer ended before it was done", transient=True) from None
            raise
        if not isinstance(frame, CodecFrame):
            raise self._broken(f"its stream gives a {type(frame).__name__} where a CodecFrame has to be")
        if self._done:
            raise self._broken("a frame follows the last one")
        self._check_ids(frame)
        self._delivered += len(frame.ids)
        if frame.done:
            self._done = True
            check_stats(self.stats)
            if frame.finish_reason in FAILED_REASONS:
                self._failure = failed_answer(self._engine, frame.finish_reason, self._delivered)
                if not frame.ids:
                    raise self._failure
                # Without `done`: a caller that saw it would take the answer for complete, and not read on.
                return msgspec.structs.replace(frame, done=False, finish_reason=None)
        return frame

    def _check_ids(self, frame: CodecFrame) -> None:
        try:
            # Other numbers may be equal to a valid id (21.0, a NumPy integer), and no record holds them.
            others = set(map(type, frame.ids)) - {int}
            bad = None if others else invalid_id(frame.ids, self._vocabulary)
        except TypeError:
            raise self._broken(f"its ids are {frame.ids!r:.60}, which are no ids") from None
        if others:
            kind = min(other.__name__ for other in others)
            raise self._broken(f"an id is a {kind}, where an int has to be: {frame.ids!r:.60}")
        if bad is not None:
            raise self._broken(f"the id {bad!r} is not in the map {self._vocabulary.id!r}")

    def _broken(self, what: str, *, transient: bool = False) -> EngineStreamError:
        return EngineStreamError(self._engine, what, delivered=self._delivered, transient=transient)


# --- figures that an engine reports of itself ---

# They are only told on: in records and spans, which take no others, and as places in a prompt. An answer is
# good whatever they are, so what can be no figure is as if it had not been reported.

MOST = 2**53
"""As many ids as a record and JSON can hold exactly."""

LONGEST = 1e9
"""Seconds: thirty years."""


def count(reported: int | None) -> int | None:
    """Return a count of ids; None where it is negative or beyond all counts, or no whole number."""
    # Of an engine of a user's own it may have any type, and a record holds no other integers than Python's.
    return reported if type(reported) is int and 0 <= reported < MOST else None


def seconds(reported: float | None) -> float | None:
    """Return a time; None where it is negative, infinite or beyond all times, or no number."""
    return float(reported) if isinstance(reported, int | float) and 0 <= reported < LONGEST else None


def check_stats(stats: StreamStats) -> None:
    """Take back what an engine of a user's own has put into its figures and can be no figure."""
    stats.prompt_tokens, stats.cached_tokens = count(stats.prompt_tokens), count(stats.cached_tokens)
    stats.engine_seconds = seconds(stats.engine_seconds)
    stats.engine_queue, stats.engine_prefill = seconds(stats.engine_queue), seconds(stats.engine_prefill)
