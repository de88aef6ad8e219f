"""A bound in time on what runs inside, cheap enough for every node.

Entering a cancel scope with a deadline costs more than all else that a short node does, and so does setting
a timer and taking it back. So where asyncio runs, one timer serves all bounds of an event loop, and the task
is ended as `asyncio.timeout` does; elsewhere it is the scope.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

import anyio

from codec_agents.concurrency.event_loop import running_task

EARLY = 0.001
"""Seconds that a timer may ring early: event loops round to their clock's resolution."""


class Deadline:
    """Stop what runs inside after so many seconds (None: never), without an error.

    `passed` says whether it was stopped. A cancellation from outside is never taken for the deadline's own,
    and goes on.
    """

    __slots__ = ("_alarm", "_before", "_fired", "_scope", "_task", "passed", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[Any] | None = None
        self._alarm: _Alarm | None = None
        self._fired = False
        self.passed = False

    def __enter__(self) -> Self:
        self._task = task = running_task()
        if task is None:
            self._scope = anyio.move_on_after(self.seconds)
            self._scope.__enter__()
            return self
        self._before = task.cancelling()
        if self.seconds != math.inf:
            self._alarm = _Alarm.of(task.get_loop())
            self._alarm.set(self, task.get_loop(), self.seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._scope is not None:
            stopped = bool(self._scope.__exit__(kind, error, trace))
            self.passed = self._scope.cancelled_caught
            return stopped
        assert self._task is not None
        if self._alarm is not None:
            self._alarm.take_back(self)
        if self._fired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            self.passed = True
        return self.passed

    def ring(self) -> None:
        """Stop what runs inside."""
        self._fired = True
        assert self._task is not None
        self._task.cancel()


class _Alarm:
    """One timer for all bounds of an event loop. It is not taken back with them: it rings and finds nothing.

    It does not hold the loop, or no loop would ever be freed; and it rings in an empty context, because it
    outlives the run that set it, and what that run's caller had in its own.
    """

    __slots__ = ("_next", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Deadline, float] = {}
        """When each bound is over, by the loop's clock."""
        self._next = math.inf
        """When the timer rings next."""

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Alarm:
        """Return the one of an event loop."""
        alarm = _alarms.get(loop)
        if alarm is None:
            alarm = _alarms[loop] = cls()
        return alarm

    def set(self, deadline: Deadline, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Let a bound be over in so many seconds."""
        self._waiting[deadline] = at = loop.time() + seconds
        if at < self._next:
            self._next = at
            loop.call_at(at, self._ring, loop, context=Context())

    def take_back(self, deadline: Deadline) -> None:
        """Forget a bound."""
        self._waiting.pop(deadline, None)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time() + EARLY
        if now < self._next:  # an earlier timer has done this one's work
            return
        for deadline in [each for each, at in self._waiting.items() if at <= now]:
            del self._waiting[deadline]
            deadline.ring()
        self._next = min(self._waiting.values(), default=math.inf)
        if self._next != math.inf:
            loop.call_at(self._next, self._ring, loop, context=Context())


_alarms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarm] = WeakKeyDictionary()
