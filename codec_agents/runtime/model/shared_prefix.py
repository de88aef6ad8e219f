"""Parallel branches over one long beginning: one of them reads it, the others find it in the cache.

Engines cache what they have read, not what they are about to read: requests that arrive together each read
their common beginning. So a request whose beginning another one is just reading for the first time waits
until that one has its first id. Reading the same ids itself would have taken it as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from codec_agents.engines.measured import Measured

SHARED = 512
"""Ids that two prompts must have in common at their beginning: reading fewer takes less than the wait."""


class Leader:
    """A request that reads the beginning of its prompt."""

    __slots__ = ("_done", "_key", "_leaders", "_measured")

    def __init__(self, leaders: dict[object, Leader], key: object, measured: Measured) -> None:
        self._leaders = leaders
        self._key = key
        self._measured = measured
        self._done: anyio.Event | None = None

    async def wait(self) -> None:
        """Return when the request has read its prompt, or has ended."""
        if self._done is None:
            self._done = anyio.Event()
        await self._done.wait()

    def finish(self, *, has_read: bool) -> None:
        """Let the requests go that wait; the prompt is read, or the request has failed."""
        del self._leaders[self._key]
        if has_read:
            self._measured.note_read(self._key)
        if self._done is not None:
            self._done.set()


class SharedPrefixes:
    """The requests of one run that are reading their prompts."""

    def __init__(self) -> None:
        self._leaders: dict[object, Leader] = {}

    async def lead(self, measured: Measured, model: str | None, prompt: Sequence[int]) -> Leader | None:
        """Wait while another request reads the same beginning; return the lead, where there is none.

        Args:
            measured: of the engine that reads the prompt.
            model: the model that reads it.
            prompt: the ids; one that is too short to share, or that was read before, is not waited for.
        """
        if len(prompt) < SHARED:
            return None
        key = (id(measured), model, tuple(prompt[:SHARED]))
        if measured.has_read(key):
            return None
        leader = self._leaders.get(key)
        if leader is not None:
            await leader.wait()
            # Without the lead: the beginning is read. If its reader failed, all go at once, since reading it
            # one after the other would make each wait for the failures before it.
            return None
        self._leaders[key] = leader = Leader(self._leaders, key, measured)
        return leader
