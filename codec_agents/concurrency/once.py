"""What an engine is asked once, however many requests want to know it at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import EventLoopToken, current_token

T = TypeVar("T")


class Once(Generic[T]):
    """An answer that is asked for by whoever needs it first, and kept.

    Those who come meanwhile wait. When asking fails they all get the error, rather than fail one after the
    other; nothing is kept, and the next one asks again. When whoever asks is cancelled, one of those who wait
    asks in its place. Each event loop asks for itself: none can wait for what happens in another.
    """

    __slots__ = ("_answer", "_asking")

    def __init__(self) -> None:
        self._answer: tuple[T] | None = None
        self._asking: dict[EventLoopToken, _Asking] = {}

    @property
    def known(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    async def get(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer; `ask` gives it, if nobody has got it yet.

        Raises:
            Exception: what `ask` raises.
        """
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
        asking = self._asking[loop] = _Asking()
        try:
            self._answer = (await ask(),)
        except Exception as error:
            asking.error = error
            raise
        finally:
            del self._asking[loop]
            asking.over.set()


class _Asking:
    """One attempt: whether it is over, and what went wrong."""

    __slots__ = ("error", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: Exception | None = None
