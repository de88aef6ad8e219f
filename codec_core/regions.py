"""Cuts a stream of token ids into regions, such as tool calls and reasoning, by ids and never by text.

The rules, which `regions_reference.py` states as a program over a whole list:

1. Outside, the leftmost start marker begins a region of its kind. Of several markers that begin at the same
   id, the longest counts. Ids that may become a marker are held until it is decided.
2. Inside a region, its end markers, its implicit ends and the start markers of all kinds count. Of several
   that begin at the same id, again the longest counts; of one marker with several roles, the first of: end,
   implicit end, start.
3. An end marker closes the region and is consumed. An implicit end closes it but is not consumed: it is read
   again as what follows the region, and may begin another one. A start marker that is neither is a
   `nested_start`: it is left out of the region's ids, and the region goes on.
4. A gathered region (not `streamed`) that grows past its cap overflows: its ids so far, and the rest as they
   arrive, leave as `overflow`, and its end gives no `region`.
5. An end marker outside is an ordinary id.

How the ids are divided among calls never changes the events, once `passthrough`, `part` and `overflow` events
that follow each other are joined. Memory is bounded by the caps and the longest marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from codec_core.exceptions import RegionKindError
from codec_core.watcher import DEFAULT_CAP, ToolWatcher, WatcherEvent

__all__ = [
    "DEFAULT_CAP",
    "Marker",
    "RegionEvent",
    "RegionKind",
    "RegionScanner",
    "ToolWatcher",
    "WatcherEvent",
]

Marker = tuple[int, ...]
"""The ids that mark the beginning or the end of a region, mostly a single one."""

RegionEventKind = Literal["passthrough", "part", "region", "truncated", "overflow", "nested_start"]


class RegionKind(msgspec.Struct, frozen=True):
    """One kind of region and its markers."""

    name: str
    starts: tuple[Marker, ...]
    """Empty for a kind that is entered only by `RegionScanner(inside=...)`."""
    ends: tuple[Marker, ...]
    """Empty for a kind that ends only implicitly or with the stream."""
    streamed: bool = False
    """Give the ids as they arrive, as `part` events, instead of all at once when the region closes."""
    implicit_ends: tuple[Marker, ...] = ()
    """Markers that close the region without being part of it: the end of a turn, the start of another
    kind."""
    cap: int = DEFAULT_CAP
    """The most ids that a gathered region has. A streamed one holds nothing and has no cap."""


class RegionEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a scan, in stream order.

    `start` and `stop` are positions in the stream, the stop one past the last id.
    """

    kind: RegionEventKind
    """The kind of event.

    `passthrough`: ids outside any region. `part`: ids of a streamed region, as they arrive. `region`: a
    region closed; `ids` are those inside its markers, none if it was streamed; the positions span it,
    markers included. `truncated`: the stream ended inside a region. `overflow`: ids of a region past its
    cap; the first one begins at the region's start. `nested_start`: a start marker inside a region.
    """
    region: str | None
    """The name of the region's kind; None for `passthrough`."""
    ids: tuple[int, ...]
    start: int
    stop: int
    finish_reason: str | None = None
    """With `truncated`: the finish reason that the caller of `flush` gave."""


class RegionScanner:
    """Finds the regions of several kinds in one pass. One object per stream, for one thread at a time."""

    __slots__ = (
        "_held",
        "_initial",
        "_inside_tables",
        "_open",
        "_outside_table",
        "_position",
        "_starts",
        "_table",
    )

    def __init__(self, kinds: Iterable[RegionKind], inside: str | None = None) -> None:
        """Make a scanner for these kinds.

        Args:
            kinds: the kinds of region; their names and start markers must differ.
            inside: the kind of the region that the stream begins in: its start marker is in the prompt.

        Raises:
            RegionKindError: a kind is badly formed, two cannot be told apart, or `inside` names none of them.
        """
        by_name = check_kinds(kinds, inside)
        self._starts = [_Role(marker, "start", kind) for kind in by_name.values() for marker in kind.starts]
        self._outside_table = _Table(self._starts)
        self._inside_tables: dict[str, _Table] = {}  # made as kinds are entered: most streams enter few
        self._initial = by_name[inside] if inside is not None else None
        self.reset()

    @property
    def inside(self) -> str | None:
        """The kind of the open region, or None."""
        return self._open.kind.name if self._open else None

    @property
    def position(self) -> int:
        """The number of ids of the stream that are decided; held ids are not counted."""
        return self._position

    @property
    def held(self) -> int:
        """The number of ids held because they may begin a marker; fewer than the longest marker has."""
        return len(self._held)

    def reset(self) -> None:
        """Begin a new stream in the scanner's first state."""
        self._held: Sequence[int] = ()
        self._position = 0
        self._open: _OpenRegion | None = None
        self._table = self._outside_table
        if self._initial is not None:
            self._enter(self._initial, 0)

    def feed(self, ids: Sequence[int] | Iterable[int]) -> list[RegionEvent]:
        """Return what these ids complete, in stream order."""
        batch = ids if type(ids) is tuple else tuple(ids)
        if self._open is None and not self._held and self._table.absent(batch) and batch:
            # Nearly all batches of nearly all streams hold no marker: this path is kept short.
            start = self._position
            self._position = stop = start + len(batch)
            return [RegionEvent("passthrough", None, batch, start, stop)]
        return self._scan(batch, final=False)

    def flush(self, finish_reason: str | None = None) -> list[RegionEvent]:
        """End the stream: return the held ids, and `truncated` if a region is open; then `reset`."""
        events = self._scan((), final=True)
        region = self._open
        if region is not None:
            name, ids = region.kind.name, tuple(region.ids)
            events.append(RegionEvent("truncated", name, ids, region.start, self._position, finish_reason))
        self.reset()
        return events

    def _scan(self, ids: Sequence[int], *, final: bool) -> list[RegionEvent]:
        if self._held:
            ids, self._held = [*self._held, *ids], ()
        events: list[RegionEvent] = []
        at = stop = len(ids)
        written = 0
        # Where no marker of this state begins, the state does not change, so no other table counts.
        if not self._table.absent(ids):
            written, at = self._scan_markers(ids, final, events)
        if written < at:
            self._content(ids, written, at, events)
        self._position += at
        if at < stop:
            self._held = ids[at:]
        return events

    def _scan_markers(self, ids: Sequence[int], final: bool, events: list[RegionEvent]) -> tuple[int, int]:
        """Read ids that have markers among them.

        Returns:
            Two places in the ids: where those that no event holds yet begin, and where the undecided ones
            begin.
        """
        at = written = 0
        while at < len(ids):
            if ids[at] not in self._table.by_first:  # not bound outside: markers change the table
                at += 1
                continue
            found = self._table.match(ids, at, final)
            if found is _UNDECIDED:
                break
            if found is None:
                at += 1
                continue
            if written < at:
                self._content(ids, written, at, events)
            at = written = self._mark(found, at, events)
        return written, at

    def _content(self, ids: Sequence[int], start: int, stop: int, events: list[RegionEvent]) -> None:
        """Add ids that are no marker to the open region or to the events."""
        # A whole tuple is taken without a copy.
        some = tuple(ids) if stop - start == len(ids) else tuple(ids[start:stop])
        start, stop = self._position + start, self._position + stop
        region = self._open
        if region is None:
            events.append(RegionEvent("passthrough", None, some, start, stop))
        elif region.kind.streamed:
            events.append(RegionEvent("part", region.kind.name, some, start, stop))
        elif region.overflowed:
            events.append(RegionEvent("overflow", region.kind.name, some, start, stop))
        else:
            region.ids += some
            if len(region.ids) > region.kind.cap:
                events.append(
                    RegionEvent("overflow", region.kind.name, tuple(region.ids), region.start, stop)
                )
                region.overflowed, region.ids = True, []

    def _mark(self, found: _Role, at: int, events: list[RegionEvent]) -> int:
        """Apply a marker at a place of the batch; return the place after what it consumes."""
        after = at + len(found.marker)
        start, stop = self._position + at, self._position + after
        region = self._open
        if region is None:
            self._enter(found.kind, start)
            return after
        if found.name == "start":
            events.append(RegionEvent("nested_start", region.kind.name, found.marker, start, stop))
            return after
        if found.name == "implicit":
            after, stop = at, start  # not consumed: the marker is read again outside
        if not region.overflowed:
            events.append(RegionEvent("region", region.kind.name, tuple(region.ids), region.start, stop))
        self._open, self._table = None, self._outside_table
        return after

    def _enter(self, kind: RegionKind, start: int) -> None:
        table = self._inside_tables.get(kind.name)
        if table is None:
            table = self._inside_tables[kind.name] = _Table(_inside_roles(kind, self._starts))
        self._open, self._table = _OpenRegion(kind, start), table


class _OpenRegion:
    """The open region of a scanner."""

    __slots__ = ("ids", "kind", "overflowed", "start")

    def __init__(self, kind: RegionKind, start: int) -> None:
        self.kind = kind
        self.start = start
        self.ids: list[int] = []
        self.overflowed = False


class _Role(NamedTuple):
    """The role of a marker for a kind: `start`, `end` or `implicit`."""

    marker: Marker
    name: str
    kind: RegionKind


_UNDECIDED: Final = _Role((), "", RegionKind("", (), ()))
"""The ids at the end of a batch may still become a marker, or a longer one."""


class _Table:
    """The markers that count in one state, by their first id, longest first."""

    __slots__ = ("absent", "by_first")

    def __init__(self, roles: Iterable[_Role]) -> None:
        self.by_first: dict[int, list[_Role]] = {}
        for role in roles:
            self.by_first.setdefault(role.marker[0], []).append(role)
        for same_first in self.by_first.values():
            same_first.sort(key=lambda role: -len(role.marker))
        self.absent = frozenset(self.by_first).isdisjoint
        """The test that no marker begins among some ids."""

    def match(self, ids: Sequence[int], at: int, final: bool) -> _Role | None:
        """Return the longest marker that begins here, None, or `_UNDECIDED` where more ids decide."""
        within = len(ids) - at
        for role in self.by_first[ids[at]]:
            size = len(role.marker)
            if size > within:
                if not final and tuple(ids[at:]) == role.marker[:within]:
                    return _UNDECIDED
            elif size == 1 or tuple(ids[at : at + size]) == role.marker:
                return role
        return None


def _inside_roles(kind: RegionKind, starts: Iterable[_Role]) -> list[_Role]:
    # Of a marker with several roles the last one written counts: rule 2.
    roles: dict[Marker, _Role] = {role.marker: role for role in starts}
    roles |= {marker: _Role(marker, "implicit", kind) for marker in kind.implicit_ends}
    roles |= {marker: _Role(marker, "end", kind) for marker in kind.ends}
    return list(roles.values())


def check_kinds(kinds: Iterable[RegionKind], inside: str | None) -> dict[str, RegionKind]:
    """Return the kinds by name.

    Raises:
        RegionKindError: a kind is badly formed, two cannot be told apart, or `inside` names none of them.
    """
    by_name: dict[str, RegionKind] = {}
    owners: dict[Marker, str] = {}
    for kind in kinds:
        if not kind.name or kind.name in by_name:
            raise RegionKindError(f"region kinds need distinct, non-empty names; got {kind.name!r}")
        if kind.cap < 0:
            raise RegionKindError(f"the cap of region {kind.name!r} must not be negative, got {kind.cap}")
        # Markers are found by their first id.
        if not all((*kind.starts, *kind.ends, *kind.implicit_ends)):
            raise RegionKindError(f"region {kind.name!r} has a marker without ids")
        by_name[kind.name] = kind
        for marker in kind.starts:
            if owners.setdefault(marker, kind.name) != kind.name:
                raise RegionKindError(
                    f"regions {owners[marker]!r} and {kind.name!r} both begin with {marker}"
                )
    if inside is not None and inside not in by_name:
        raise RegionKindError(f"the stream cannot begin inside {inside!r}: no region kind has this name")
    return by_name
