"""A bound in time on what runs inside, cheap enough for every node.

Entering a cancel scope with a deadline costs more than all else that a short node does. So where asyncio runs
there is a timer instead that ends the task as `asyncio.timeout` does; elsewhere it is the scope.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Any, Self

import anyio

from codec_agents.event_loop import running_task


class Deadline:
    """Stop what runs inside after so many seconds (None: never), without an error.

    `passed` says whether it was stopped. A cancellation from outside is never taken for the deadline's own,
    and goes on.
    """

    __slots__ = ("_before", "_fired", "_scope", "_task", "_timer", "passed", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
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
            self._timer = task.get_loop().call_later(self.seconds, self._fire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._scope is not None:
            stopped = bool(self._scope.__exit__(kind, error, trace))
            self.passed = self._scope.cancelled_caught
            return stopped
        assert self._task is not None
        if self._timer is not None:
            self._timer.cancel()
        if self._fired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            self.passed = True
        return self.passed

    def _fire(self) -> None:
        self._fired = True
        assert self._task is not None
        self._task.cancel()
