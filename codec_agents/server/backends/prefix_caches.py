"""Caches of the prompts that a model in this process has read: one that begins alike starts from there.

A cache is handed over, never copied: the generation that takes it extends it, and gives it back at its end.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

CACHES: Final = 4
"""Kept; the one that was used least recently goes first. Each holds keys and values of all its ids."""
CACHED_IDS: Final = 32_768
"""Of one prompt: a longer one is not kept. A model of 8 billion weights takes 4 GB for as many."""
LEAST_SHARE: Final = 0.5
"""Of a cache's ids that a prompt must share to take it. Otherwise a common system prompt would take the cache
of a long conversation from the turn that continues it."""


class PrefixCaches:
    """The caches of one model; used from the threads of its generations."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, prompt: Sequence[int]) -> tuple[Any, int]:
        """Return the cache that shares the longest beginning with a prompt, and how many ids it shares.

        At least the last id of the prompt is left to read, since its scores choose the next id. None and 0
        where no cache is worth taking.
        """
        with self._lock:
            shared = {ids: _common(ids, prompt[:-1]) for ids in self._kept}
            best = max(shared, key=shared.__getitem__, default=())
            if not best or shared[best] < LEAST_SHARE * len(best):
                return None, 0
            cache, length = self._kept.pop(best), shared[best]
        if length < len(best):
            try:
                # A negative number: how many ids to drop from the end.
                cache.crop(length - len(best))
            except (AttributeError, ValueError, NotImplementedError):
                # Layers with a sliding window have dropped what lies before it, and cannot go back. A cache
                # of a model's own need not have `crop`.
                return None, 0
        return cache, length

    def give(self, ids: Sequence[int], cache: Any) -> None:
        """Keep the cache of ids that the model has read."""
        if cache is None or not 0 < len(ids) <= CACHED_IDS:
            return
        with self._lock:
            self._kept[tuple(ids)] = cache
            self._kept.move_to_end(tuple(ids))
            while len(self._kept) > CACHES:
                self._kept.popitem(last=False)


def _common(ids: Sequence[int], prompt: Sequence[int]) -> int:
    length = min(len(ids), len(prompt))
    return next((at for at in range(length) if ids[at] != prompt[at]), length)
