"""Watches a stream of token ids for the regions between one pair of control tokens, such as tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from codec_core.exceptions import ToolWatcherError

if TYPE_CHECKING:
    from codec_core.maps import TokenizerMap
    from codec_core.vocabulary import Vocabulary

DEFAULT_CAP = 131_072
"""The most ids that a region gathers: the longest output of the models in use. Past it, a region
overflows."""


class WatcherEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a watch, in stream order."""

    kind: Literal["passthrough", "region", "truncated", "overflow", "nested_start"]
    """The kind of event.

    `passthrough`: ids outside any region. `region`: the ids of a whole region, markers left out.
    `nested_start`: a start marker inside a region. `overflow`: ids of a region past its cap; the first such
    event has all ids so far. `truncated`: the stream ended inside a region.
    """
    ids: tuple[int, ...]
    finish_reason: str | None = None
    """With `truncated`: the finish reason that the caller of `flush` gave."""


class ToolWatcher:
    """Finds regions by comparing integers. One object per stream, for one thread at a time.

    How the ids are divided among calls never changes the events, once `passthrough` and `overflow` events
    that follow each other are joined.
    """

    __slots__ = ("_absent", "_cap", "_end", "_ids", "_inside", "_overflowed", "_start")

    def __init__(
        self,
        map: TokenizerMap | Vocabulary,  # noqa: A002 - the name that the existing client gave it
        start_name: str,
        end_name: str,
        *,
        cap: int = DEFAULT_CAP,
    ) -> None:
        """Make a watcher for the region between two control tokens of a map.

        Raises:
            ToolWatcherError: the map has no control token of that name.
        """
        self._start = _special(map, start_name)
        self._end = _special(map, end_name)
        self._absent = frozenset((self._start, self._end)).isdisjoint
        self._cap = cap
        self.reset()

    @property
    def start_id(self) -> int:
        """The id that begins a region."""
        return self._start

    @property
    def end_id(self) -> int:
        """The id that ends a region."""
        return self._end

    @property
    def inside(self) -> bool:
        """True while a region is open."""
        return self._inside

    def reset(self) -> None:
        """Begin a new stream."""
        self._inside = False
        self._overflowed = False
        self._ids: list[int] = []

    def feed(self, ids: Sequence[int] | Iterable[int]) -> list[WatcherEvent]:
        """Return what these ids complete, in stream order."""
        batch = ids if type(ids) is tuple else tuple(ids)
        # Most batches hold no marker: they are passed on whole, inside and outside.
        if not self._inside and self._start not in batch:
            return [WatcherEvent("passthrough", batch)] if batch else []
        events: list[WatcherEvent] = []
        if self._inside and self._absent(batch):
            self._gather(batch, events)
            return events
        at = 0
        while at < len(batch):
            at = self._read_region(batch, at, events) if self._inside else self._skip(batch, at, events)
        return events

    def flush(self, finish_reason: str | None = None) -> list[WatcherEvent]:
        """End the stream: return `truncated` if a region is open; then `reset`."""
        events = [WatcherEvent("truncated", tuple(self._ids), finish_reason)] if self._inside else []
        self.reset()
        return events

    def _skip(self, batch: tuple[int, ...], at: int, events: list[WatcherEvent]) -> int:
        """Skip ids outside, and regions that are whole; return the place after any other start marker."""
        start, end, size = self._start, self._end, len(batch)
        while (begin := _find(batch, start, at)) < size:
            if begin > at:
                events.append(WatcherEvent("passthrough", batch[at:begin]))
            at = begin + 1
            stop = _find(batch, end, at)
            region = batch[at:stop]
            # A region that is whole, and holds no other start, is nearly every one: nothing is gathered.
            if stop == size or stop - at > self._cap or start in region:
                self._inside = True
                return at
            events.append(WatcherEvent("region", region))
            at = stop + 1
        if at < size:
            events.append(WatcherEvent("passthrough", batch[at:]))
        return size

    def _read_region(self, batch: tuple[int, ...], at: int, events: list[WatcherEvent]) -> int:
        """Read ids inside; return the place after the next end marker."""
        stop = _find(batch, self._end, at)
        while (nested := _find(batch, self._start, at, stop)) < stop:
            self._gather(batch[at:nested], events)
            events.append(WatcherEvent("nested_start", (self._start,)))
            at = nested + 1
        self._gather(batch[at:stop], events)
        if stop < len(batch):
            if not self._overflowed:
                events.append(WatcherEvent("region", tuple(self._ids)))
            self.reset()
        return stop + 1  # past the batch where there is no end marker, which ends the caller's loop

    def _gather(self, ids: Sequence[int], events: list[WatcherEvent]) -> None:
        self._ids += ids
        if self._ids and (self._overflowed or len(self._ids) > self._cap):
            events.append(WatcherEvent("overflow", tuple(self._ids)))
            self._overflowed, self._ids = True, []


def _find(batch: tuple[int, ...], wanted: int, start: int, stop: int | None = None) -> int:
    """Return the place of the next `wanted` id, or `stop`."""
    stop = len(batch) if stop is None else stop
    try:
        return batch.index(wanted, start, stop)
    except ValueError:
        return stop


def _special(source: TokenizerMap | Vocabulary, name: str) -> int:
    found = (source.special_tokens or {}).get(name)
    if found is None:
        raise ToolWatcherError(f"special token {name!r} not in map.special_tokens of {source.id}")
    return found
