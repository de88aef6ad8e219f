"""Bounds in time: one for a block, and one for the reads of a stream.

Neither cancels a task by itself. A block is bounded by an anyio cancel scope, and a read is ended by the
client that carries it, or by a scope where the client cannot. A bare `task.cancel()` beside anyio's scopes is
what this avoids: when both expire in one turn of the event loop, asyncio folds the two requests into one
`CancelledError` that neither side takes for its own, and it reaches a caller who cancelled nothing.

One timer serves all bounds of an asyncio loop, because a timer for each costs as much as the scope itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from functools import cache
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakKeyDictionary

import anyio

from codec_agents.concurrency.event_loop import running_loop

EARLY = 0.001
"""Seconds by which a timer may fire early: event loops round to the resolution of their clock."""


class OutOfTimeError(Exception):
    """The deadline of a read passed before anything came."""


class Deadline:
    """Stop a block after a number of seconds (None: never), without an error.

    `passed` tells afterwards whether the block was stopped. A cancellation from outside is never taken for
    the deadline's own, and propagates.
    """

    __slots__ = ("_alarm", "_scope", "passed", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._scope: anyio.CancelScope | None = None
        self._alarm: _Alarm | None = None
        self.passed = False

    def __enter__(self) -> Self:
        if self.seconds == math.inf:
            return self
        loop = running_loop()
        if loop is None:
            self._scope = anyio.move_on_after(self.seconds)
        else:
            # The alarm takes the part of the timer that the scope would set for a deadline of its own.
            self._scope = _asyncio_scope_class()()
            self._alarm = _Alarm.of(loop)
            self._alarm.set(self, loop, loop.time() + self.seconds)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._scope is None:
            return False
        if self._alarm is not None:
            self._alarm.drop(self)
        stopped = bool(self._scope.__exit__(kind, error, trace))
        self.passed = self._scope.cancelled_caught
        return stopped

    def expire(self, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ARG002 - an alarm's caller needs it
        """Stop the block."""
        assert self._scope is not None
        self._scope.cancel()


@cache
def _asyncio_scope_class() -> type[anyio.CancelScope]:
    return type(anyio.CancelScope())


def new_scope() -> anyio.CancelScope:
    """Return a cancel scope for the running task.

    `anyio.CancelScope()` first finds out which event loop runs, which takes longer than all else that a bound
    does; on asyncio it is known. The class of its result is public by what the call returns, not by a name.
    """
    return anyio.CancelScope() if running_loop() is None else _asyncio_scope_class()()


class ReadTimeout:
    """Bound each read of one stream by a deadline that moves with every chunk.

    Args:
        instant: returns the deadline of the read that runs, by the clock of the event loop.
        abort: ends the read that runs, with the error that it is given or another one, on asyncio; None
            where the client has no such call.
    """

    __slots__ = ("_abort", "_aborted", "_alarm", "_armed", "_instant", "_loop", "_reading")

    def __init__(
        self, instant: Callable[[], float], abort: Callable[[OutOfTimeError], None] | None = None
    ) -> None:
        self._instant = instant
        self._abort = abort
        self._loop = None if abort is None else running_loop()
        self._alarm = None if self._loop is None else _Alarm.of(self._loop)
        self._armed = math.inf
        """When the alarm looks next; at the deadline or before it."""
        self._reading = False
        self._aborted = False

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Return the next chunk, or None at the end.

        Raises:
            OutOfTimeError: it did not come in time.
        """
        instant = self._instant()
        if self._alarm is None:
            with anyio.CancelScope(deadline=instant):
                return await anext(chunks, None)
            raise OutOfTimeError
        # Deadlines mostly move away, and then the alarm finds that it fired early: no timer is touched per
        # chunk.
        if instant < self._armed:
            self._arm(instant)
        self._reading = True
        try:
            chunk = await anext(chunks, None)
        except Exception:
            if self._aborted:  # the client may raise an error of its own for what was ended
                raise OutOfTimeError from None
            raise
        finally:
            self._reading = False
        # The client may also take the abort for the end of the body.
        if chunk is None and self._aborted:
            raise OutOfTimeError
        return chunk

    def _arm(self, instant: float) -> None:
        assert self._alarm is not None
        assert self._loop is not None
        self._armed = instant
        self._alarm.set(self, self._loop, instant)

    def expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the read that runs, unless its deadline has moved meanwhile."""
        self._armed = math.inf
        if not self._reading:
            return  # the next read arms again
        if loop.time() + EARLY < (instant := self._instant()):
            self._arm(instant)
        else:
            assert self._abort is not None
            self._aborted = True
            self._abort(OutOfTimeError())

    def close(self) -> None:
        """Release the alarm."""
        if self._alarm is not None:
            self._alarm.drop(self)


class _Expiring(Protocol):
    def expire(self, loop: asyncio.AbstractEventLoop) -> None: ...


class _Alarm:
    """One timer for all bounds of an event loop. It is not cancelled with them: it fires and finds nothing.

    It does not hold the loop, or no loop would ever be freed; and it fires in an empty context, because it
    outlives the run that set it, and what that run's caller had in its own.
    """

    __slots__ = ("_next", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[_Expiring, float] = {}
        """When each bound expires, by the loop's clock."""
        self._next = math.inf
        """When the timer fires next."""

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Alarm:
        """Return the one of an event loop."""
        alarm = _alarms.get(loop)
        if alarm is None:
            alarm = _alarms[loop] = cls()
        return alarm

    def set(self, bound: _Expiring, loop: asyncio.AbstractEventLoop, at: float) -> None:
        """Have a bound expire at an instant of the loop's clock."""
        if at == math.inf:
            self.drop(bound)
            return
        self._waiting[bound] = at
        if at < self._next:
            self._next = at
            loop.call_at(at, self._fire, loop, context=Context())

    def drop(self, bound: _Expiring) -> None:
        """Forget a bound."""
        self._waiting.pop(bound, None)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time() + EARLY
        if now < self._next:  # an earlier timer has done this one's work
            return
        self._next = math.inf  # bounds that set themselves again below need a timer
        for bound in [each for each, at in self._waiting.items() if at <= now]:
            del self._waiting[bound]
            bound.expire(loop)
        at = min(self._waiting.values(), default=math.inf)
        if at < self._next:
            self._next = at
            loop.call_at(at, self._fire, loop, context=Context())


_alarms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarm] = WeakKeyDictionary()
