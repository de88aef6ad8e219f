"""The lease of the engines that a pipeline created: they stay open while something uses them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType

import anyio

from codec_agents.engines.base import Engine

CLOSING_SECONDS = 5.0
"""Seconds that closing may take; a connection that is open after that is left to the operating system."""


class EngineLease:
    """Counts the users of a pipeline's engines, and closes the engines after the last one.

    A run is a user, and so is `Pipeline.opened`, which keeps connections from run to run. A closed engine
    opens again with its next request.
    """

    __slots__ = ("_engines", "_users")

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._users = 0

    async def __aenter__(self) -> None:
        self._users += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._users == 0 and self._engines:
            await self.close()

    async def close(self) -> None:
        """Close the engines now, also where closing one of them fails."""
        with anyio.move_on_after(CLOSING_SECONDS, shield=True):
            async with AsyncExitStack() as stack:
                for engine in self._engines.values():
                    stack.push_async_callback(engine.aclose)
