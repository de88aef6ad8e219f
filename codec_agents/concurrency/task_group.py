"""A task group out of which the exit of the program comes as what it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import anyio

EXITS = (SystemExit, KeyboardInterrupt)
"""What ends a program. The handler of a signal raises it in whatever code runs at that moment."""


class TaskGroup:
    """Runs tasks until all have ended, as anyio's group does; an exit in one of them ends the others first.

    Asyncio's event loop stops in its middle when a task raises an exit, and a task group puts it into a group
    of exceptions, with which the program's exit code is lost. Here the tasks end as they do at any failure,
    and then the exit is raised where the group was opened. It comes before all other errors.
    """

    def __init__(self) -> None:
        self._group = anyio.create_task_group()
        self._exit: BaseException | None = None

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """Cancels all tasks, and the block of the group."""
        return self._group.cancel_scope

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: object, name: object = None) -> None:
        """Start a task."""
        self._group.start_soon(self._run, function, args, name=name)

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except EXITS as error:
            self._leave(error)

    def _leave(self, error: BaseException) -> None:
        self._exit = self._exit or error
        self.cancel_scope.cancel()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, EXITS):
            self._leave(error)
            kind = error = trace = None
        try:
            return bool(await self._group.__aexit__(kind, error, trace))
        finally:
            if self._exit is not None:
                raise self._exit
