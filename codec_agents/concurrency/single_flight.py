"""One call for all that need its answer at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import EventLoopToken, current_token

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """An answer that the first caller asks for, and that is kept.

    Callers that come meanwhile wait for it. When the call fails, all of them get its error, rather than fail
    one after the other; nothing is kept, and the next caller asks again. When the caller that asks is
    cancelled, one of those that wait asks in its place. Each event loop asks for itself, because no task can
    wait for another loop.
    """

    __slots__ = ("_answer", "_asking")

    def __init__(self) -> None:
        self._answer: tuple[T] | None = None
        self._asking: dict[EventLoopToken, _Attempt] = {}

    @property
    def known(self) -> bool:
        """True once there is an answer."""
        return self._answer is not None

    @property
    def answer(self) -> T | None:
        """The answer; None while it is not known."""
        return None if self._answer is None else self._answer[0]

    async def get(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer, from `ask` if it is not known yet.

        Raises:
            Exception: what `ask` raises.
        """
        # Looking the loop up takes longer than all else, once the answer is there.
        loop = None if self._answer is not None else current_token()
        while self._answer is None:
            assert loop is not None
            asking = self._asking.get(loop)
            if asking is None:
                await self._ask(ask, loop)
            else:
                await asking.over.wait()
                if asking.error is not None:
                    raise asking.error
        return self._answer[0]

    async def _ask(self, ask: Callable[[], Awaitable[T]], loop: EventLoopToken) -> None:
        asking = self._asking[loop] = _Attempt()
        try:
            self._answer = (await ask(),)
        except Exception as error:
            asking.error = error
            raise
        finally:
            # Before the callers wake up, one of which then asks in the place of this one.
            del self._asking[loop]
            asking.over.set()


class _Attempt:
    """One call: whether it has ended, and its error."""

    __slots__ = ("error", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: Exception | None = None
