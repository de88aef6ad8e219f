"""Decisions from what the answers of an engine have shown."""

from __future__ import annotations

import pytest

from codec_agents.engines import measured
from codec_agents.engines.base import StreamStats
from codec_agents.engines.measured import IDLE, MISSES, QUEUED, REMEMBERED, ROOM, TRIED_AGAIN, Measured


def told(cached: int | None, queue: float | None = None) -> StreamStats:
    return StreamStats(cached_tokens=cached, engine_queue=queue)


@pytest.mark.parametrize("cached", [None, 0, 99])
def test_no_gain_twice_in_a_row_stops_a_node_until_it_is_tried_again(cached: int | None) -> None:
    engine = Measured()
    assert [engine.note("a", 200, told(cached)) for _ in range(MISSES)] == [False] * (MISSES - 1) + [True]
    asked = [engine.gains("a") for _ in range(2 * TRIED_AGAIN)]
    assert [number for number, answer in enumerate(asked, 1) if answer] == [TRIED_AGAIN, 2 * TRIED_AGAIN]
    assert engine.gains("b")


def test_a_gain_in_between_forgives() -> None:
    engine = Measured()
    for cached in (0, 100, 0, 200, 0):
        engine.note("a", 200, told(cached))
    assert engine.gains("a")
    engine.note("a", 200, told(0))
    assert not engine.gains("a")


def test_prompts_that_were_not_sent_ahead_show_nothing() -> None:
    engine = Measured()
    for _ in range(5):
        assert not engine.note("a", 0, told(0))
    assert engine.gains("a")


def test_room_is_what_the_engine_or_else_the_requests_in_flight_leave() -> None:
    engine = Measured()
    assert engine.has_room()
    engine.note("a", 0, told(None, QUEUED))
    assert not engine.has_room()
    engine.note("a", 0, told(None, 0.0))
    assert engine.has_room()
    engine.running = ROOM - 1
    with engine:
        assert not engine.has_room()
    engine.running = IDLE
    assert not engine.has_room(IDLE), "not idle"
    engine.running = 0
    assert engine.has_room(IDLE)
    assert engine.has_room()


def test_beginnings_are_remembered_up_to_a_bound() -> None:
    engine = Measured()
    for number in range(measured.REMEMBERED + 1):
        engine.note_read((number,))
    assert not engine.has_read((0,))
    assert engine.has_read((1,))
    assert engine.has_read((REMEMBERED,))
