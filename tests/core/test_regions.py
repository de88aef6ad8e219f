"""Regions: whatever the cuts, the events are those of the reference."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_core.exceptions import RegionKindError, ToolWatcherError
from codec_core.regions import RegionEvent, RegionKind, RegionScanner, ToolWatcher, WatcherEvent
from codec_core.regions_reference import join, scan_whole
from tests.cases import cases

TOOL = RegionKind("tool", ((1,),), ((2,),))
THINK = RegionKind("think", ((3,),), ((4,),), streamed=True, implicit_ends=((1,), (9,)))


def events_of(scanner, *batches, finish_reason=None):
    events = [event for batch in batches for event in scanner.feed(batch)]
    return join(events + scanner.flush(finish_reason))


def short(events):
    return [(e.kind, e.region, e.ids, e.start, e.stop) for e in events]


def test_regions_come_out_whole_with_their_positions():
    events = events_of(RegionScanner([TOOL]), [7, 1, 5, 6, 2, 8])
    assert short(events) == [
        ("passthrough", None, (7,), 0, 1),
        ("region", "tool", (5, 6), 1, 5),
        ("passthrough", None, (8,), 5, 6),
    ]


def test_an_empty_region_is_a_region():
    assert short(events_of(RegionScanner([TOOL]), [1, 2])) == [("region", "tool", (), 0, 2)]


def test_a_stray_end_marker_is_an_ordinary_id():
    assert short(events_of(RegionScanner([TOOL]), [2, 5])) == [("passthrough", None, (2, 5), 0, 2)]


def test_a_streamed_region_gives_its_ids_as_they_come():
    scanner = RegionScanner([THINK])
    assert short(scanner.feed([3, 7])) == [("part", "think", (7,), 1, 2)]
    assert short(scanner.feed([8])) == [("part", "think", (8,), 2, 3)]
    assert short(scanner.feed([4])) == [("region", "think", (), 0, 4)]


def test_an_implicit_end_closes_and_is_read_again():
    events = events_of(RegionScanner([TOOL, THINK]), [3, 7, 1, 5, 2, 9])
    assert short(events) == [
        ("part", "think", (7,), 1, 2),
        ("region", "think", (), 0, 2),
        ("region", "tool", (5,), 2, 5),
        ("passthrough", None, (9,), 5, 6),
    ]


def test_a_nested_start_is_reported_and_left_out():
    events = events_of(RegionScanner([TOOL, THINK]), [1, 5, 1, 6, 3, 2])
    assert short(events) == [
        ("nested_start", "tool", (1,), 2, 3),
        ("nested_start", "tool", (3,), 4, 5),
        ("region", "tool", (5, 6), 0, 6),
    ]


def test_a_stream_may_begin_inside_a_region():
    events = events_of(RegionScanner([THINK], inside="think"), [7, 4, 8])
    assert short(events) == [
        ("part", "think", (7,), 0, 1),
        ("region", "think", (), 0, 2),
        ("passthrough", None, (8,), 2, 3),
    ]


def test_a_stream_that_ends_inside_is_truncated_and_says_why():
    scanner = RegionScanner([TOOL])
    scanner.feed([1, 5])
    assert scanner.flush("length") == [RegionEvent("truncated", "tool", (5,), 0, 2, "length")]
    assert scanner.inside is None
    assert scanner.position == 0


def test_a_region_past_its_cap_overflows_and_never_closes():
    kind = RegionKind("tool", ((1,),), ((2,),), cap=2)
    events = events_of(RegionScanner([kind]), [1, 5, 6], [7], [8, 2, 9])
    assert short(events) == [("overflow", "tool", (5, 6, 7, 8), 0, 5), ("passthrough", None, (9,), 6, 7)]


def test_an_overflowing_region_holds_no_ids():
    scanner = RegionScanner([RegionKind("tool", ((1,),), ((2,),), cap=10)])
    scanner.feed([1])
    out = sum(len(event.ids) for _ in range(1000) for event in scanner.feed([7] * 100))
    assert out == 100_000
    assert short(scanner.flush()) == [("truncated", "tool", (), 0, 100_001)]


def test_a_marker_of_several_ids_is_found_over_any_cut():
    kind = RegionKind("call", ((1, 2, 3),), ((4, 5),))
    ids = [1, 2, 1, 2, 3, 7, 4, 4, 5, 1, 2]
    expected = [
        ("passthrough", None, (1, 2), 0, 2),
        ("region", "call", (7, 4), 2, 9),
        ("passthrough", None, (1, 2), 9, 11),
    ]
    assert short(events_of(RegionScanner([kind]), ids)) == expected
    assert short(events_of(RegionScanner([kind]), *[[one] for one in ids])) == expected


def test_what_might_become_a_marker_is_held_back_and_no_more():
    scanner = RegionScanner([RegionKind("call", ((1, 2, 3),), ((4,),))])
    assert short(scanner.feed([7, 1, 2])) == [("passthrough", None, (7,), 0, 1)]
    assert scanner.held == 2
    assert short(scanner.feed([8])) == [("passthrough", None, (1, 2, 8), 1, 4)]


def test_the_longest_marker_wins():
    short_kind = RegionKind("short", ((1,),), ((2,),))
    long_kind = RegionKind("long", ((1, 1),), ((2,),))
    events = events_of(RegionScanner([short_kind, long_kind]), [1], [1], [2], [1], [2])
    assert short(events) == [("region", "long", (), 0, 3), ("region", "short", (), 3, 5)]


def test_a_marker_may_be_both_start_and_end():
    fence = RegionKind("fence", ((1,),), ((1,),))
    assert short(events_of(RegionScanner([fence]), [1, 7, 1])) == [("region", "fence", (7,), 0, 3)]


@pytest.mark.parametrize(
    ("kinds", "inside"),
    [
        ([TOOL, TOOL], None),
        ([RegionKind("", ((1,),), ((2,),))], None),
        ([RegionKind("a", ((),), ((2,),))], None),
        ([RegionKind("a", ((1,),), ((2,),), cap=-1)], None),
        ([RegionKind("a", ((1,),), ()), RegionKind("b", ((1,),), ())], None),
        ([TOOL], "think"),
    ],
)
def test_badly_formed_kinds_are_refused(kinds, inside):
    with pytest.raises(RegionKindError):
        RegionScanner(kinds, inside)


def test_cost_is_linear_in_markers_and_false_beginnings():
    scanner = RegionScanner([RegionKind("call", ((1, 2, 3),), ((4, 5),)), TOOL])
    ids = [1, 2, 1, 2, 4, 5, 1, 2, 2] * 20_000
    events = [*scanner.feed(ids), *scanner.flush()]
    assert [event.start for event in events] == [0, *(event.stop for event in events[:-1])]
    assert events[-1].stop == len(ids)
    assert {event.region for event in events} == {"tool", None}


markers = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)
marker_sets = st.lists(markers, max_size=2).map(tuple)


@st.composite
def kind_lists(draw):
    starts = draw(st.lists(markers, unique=True, min_size=1, max_size=4))
    return [
        RegionKind(
            f"kind{number}",
            (start,),
            draw(marker_sets),
            draw(st.booleans()),
            draw(marker_sets),
            draw(st.integers(0, 4)),
        )
        for number, start in enumerate(starts)
    ]


@st.composite
def cut_streams(draw, largest=5):
    ids = draw(st.lists(st.integers(0, largest), max_size=40))
    cuts = sorted(draw(st.lists(st.integers(0, len(ids)), max_size=8)))
    return ids, [ids[a:b] for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]


@settings(max_examples=cases(400))
@given(kind_lists(), cut_streams(), st.booleans())
def test_the_scanner_equals_the_reference_however_cut(kinds, stream, begin_inside):
    ids, batches = stream
    inside = kinds[0].name if begin_inside else None
    scanner = RegionScanner(kinds, inside)
    assert events_of(scanner, *batches, finish_reason="stop") == scan_whole(kinds, ids, inside, "stop")


@given(kind_lists(), cut_streams())
def test_no_id_is_lost(kinds, stream):
    ids, batches = stream
    seen = set()
    for event in events_of(RegionScanner(kinds), *batches):
        if event.kind != "part" or event.ids:
            seen.update(range(event.start, event.stop))
    overflowed = {e.region for e in scan_whole(kinds, ids) if e.kind == "overflow"}
    if not overflowed:
        assert seen == set(range(len(ids)))


# The watcher of one pair


MAP = SimpleNamespace(id="test/map", special_tokens={"<t>": 1, "</t>": 2})


def watcher(**options):
    return ToolWatcher(MAP, "<t>", "</t>", **options)


def test_a_watcher_behaves_as_the_existing_client_does():
    watch = watcher()
    assert (watch.start_id, watch.end_id, watch.inside) == (1, 2, False)
    assert watch.feed([0, 1, 7, 2, 7]) == [
        WatcherEvent("passthrough", (0,)),
        WatcherEvent("region", (7,)),
        WatcherEvent("passthrough", (7,)),
    ]
    assert watch.feed(iter([1, 0])) == []
    assert watch.inside
    assert watch.feed((7, 2)) == [WatcherEvent("region", (0, 7))]
    assert watch.feed([]) == []


def test_a_watcher_needs_both_markers():
    with pytest.raises(ToolWatcherError, match="'</x>' not in map"):
        ToolWatcher(MAP, "<t>", "</x>")


def test_a_watcher_tells_truncation_and_nesting():
    watch = watcher()
    assert watch.feed([1, 7, 1, 8]) == [WatcherEvent("nested_start", (1,))]
    assert watch.flush("length") == [WatcherEvent("truncated", (7, 8), "length")]
    assert watch.flush() == []


def as_watcher_events(events):
    joined = []
    for event in events:
        if joined and event.kind == joined[-1].kind in ("passthrough", "overflow"):
            event = WatcherEvent(event.kind, joined.pop().ids + event.ids, event.finish_reason)
        joined.append(WatcherEvent(event.kind, event.ids, event.finish_reason))
    return joined


@given(cut_streams(largest=3), st.integers(0, 5))
def test_a_watcher_equals_a_scanner_of_one_kind(stream, cap):
    ids, batches = stream
    watch = watcher(cap=cap)
    found = [event for batch in batches for event in watch.feed(batch)] + watch.flush("stop")
    kinds = [RegionKind("tool", ((1,),), ((2,),), cap=cap)]
    assert as_watcher_events(found) == as_watcher_events(scan_whole(kinds, ids, None, "stop"))
