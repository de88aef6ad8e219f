"""The simulated cost of reading a prompt, and the prefix cache that saves it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence

import anyio

REMEMBERED = 64
"""Prompts that a prefix cache keeps."""


class PrefixCache:
    """The prompts that a model has read, the latest of them."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[tuple[Hashable, tuple[int, ...]], None] = OrderedDict()

    def find(self, space: Hashable, prompt: Sequence[int]) -> int:
        """Return how many of a prompt's first ids have been read; at least one id always remains to be read.

        Args:
            space: what the ids belong to; prompts of different spaces have nothing in common.
            prompt: the ids.
        """
        ids = tuple(prompt)
        shared = (_shared(kept, ids) for of, kept in self._prompts if of == space)
        return min(max(shared, default=0), len(ids) - 1)

    def keep(self, space: Hashable, prompt: Sequence[int]) -> None:
        """Remember that these ids have been read."""
        key = (space, tuple(prompt))
        self._prompts[key] = None
        self._prompts.move_to_end(key)
        while len(self._prompts) > REMEMBERED:
            self._prompts.popitem(last=False)


class PromptReading:
    """The reading of one prompt. What was read before it was broken off stays in the cache."""

    def __init__(
        self, prompt: Sequence[int], seconds_an_id: float, cache: PrefixCache | None, space: Hashable = None
    ) -> None:
        self._prompt = prompt
        self._seconds_an_id = seconds_an_id
        self._cache = cache
        self._space = space
        self.cached: int | None = None if cache is None else cache.find(space, prompt)
        """Ids that need not be read again; None without a cache."""

    async def finish(self) -> None:
        """Take the time that the rest of the prompt needs."""
        known = self.cached or 0
        started = time.perf_counter()
        try:
            if seconds := (len(self._prompt) - known) * self._seconds_an_id:
                await anyio.sleep(seconds)
        finally:  # a request that is left has read a part
            if self._cache is not None:
                self._cache.keep(self._space, self._prompt[: known + self._read_since(started)])

    def _read_since(self, started: float) -> int:
        if not self._seconds_an_id:
            return len(self._prompt)
        return int((time.perf_counter() - started) / self._seconds_an_id)


def _shared(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Return the length of the common beginning, by halving: comparing slices is fast."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
