"""The rules of `regions.py` as a plain program over a whole list. Tests hold the scanner equal to it.

It looks at every id and every marker; use it to understand and to test, not to serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codec_core.regions import Marker, RegionEvent, RegionKind, check_kinds

JOINED = ("passthrough", "part", "overflow")
"""Events whose neighbours of the same kind are joined."""


def scan_whole(
    kinds: Iterable[RegionKind],
    ids: Sequence[int],
    inside: str | None = None,
    finish_reason: str | None = None,
) -> list[RegionEvent]:
    """Return the events of a whole stream, neighbours of the same kind joined."""
    by_name = check_kinds(kinds, inside)
    starts = {marker: kind for kind in by_name.values() for marker in kind.starts}
    events: list[RegionEvent] = []
    kind = by_name[inside] if inside is not None else None
    start = at = 0
    body: list[int] = []
    overflowed = False

    def closed(stop: int) -> None:
        if not overflowed and kind is not None:
            events.append(RegionEvent("region", kind.name, tuple(body), start, stop))

    while at < len(ids):
        if kind is None:
            marker = longest_at(ids, at, starts)
            if marker:
                kind, start, body, overflowed = starts[marker], at, [], False
            else:
                events.append(RegionEvent("passthrough", None, (ids[at],), at, at + 1))
            at += len(marker) or 1
            continue
        marker = longest_at(ids, at, [*kind.ends, *kind.implicit_ends, *starts])
        stop = at + len(marker)
        if marker in kind.ends:
            closed(stop)
            kind = None
        elif marker in kind.implicit_ends:
            closed(at)
            kind, stop = None, at  # not consumed: rule 3
        elif marker:
            events.append(RegionEvent("nested_start", kind.name, marker, at, stop))
        else:
            stop = at + 1
            body.append(ids[at])
            if kind.streamed:
                events.append(RegionEvent("part", kind.name, tuple(body), at, stop))
                body = []
            elif overflowed or len(body) > kind.cap:
                # The first of these holds the region so far, and so begins where the region does: rule 4.
                events.append(
                    RegionEvent("overflow", kind.name, tuple(body), at if overflowed else start, stop)
                )
                body, overflowed = [], True
        at = stop
    if kind is not None:
        events.append(RegionEvent("truncated", kind.name, tuple(body), start, at, finish_reason))
    return join(events)


def longest_at(ids: Sequence[int], at: int, markers: Iterable[Marker]) -> Marker:
    """Return the longest marker that begins at this place, or the empty one."""
    here = [marker for marker in markers if tuple(ids[at : at + len(marker)]) == marker]
    return max(here, key=len, default=())


def join(events: Iterable[RegionEvent]) -> list[RegionEvent]:
    """Join events of the same kind that follow each other without a gap."""
    joined: list[RegionEvent] = []
    for event in events:
        last = joined[-1] if joined else None
        if (
            last is not None
            and event.kind in JOINED
            and (last.kind, last.region, last.stop) == (event.kind, event.region, event.start)
        ):
            joined[-1] = RegionEvent(event.kind, event.region, last.ids + event.ids, last.start, event.stop)
        else:
            joined.append(event)
    return joined
