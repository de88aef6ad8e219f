"""Decisions from what the answers of an engine have shown."""

from __future__ import annotations

import anyio
import pytest

from codec_agents.engines import measured
from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import StreamStats
from codec_agents.engines.measured import (
    MISSES,
    QUEUED,
    REMEMBERED,
    ROOM,
    TRIED_AGAIN,
    Measured,
    loads_of,
)
from codec_agents.engines.pool import EnginePool
from codec_agents.engines.vllm import VllmEngine

pytestmark = pytest.mark.anyio


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
    assert not engine.is_idle()
    engine.running = 0
    assert engine.is_idle()


def test_an_engine_is_not_idle_between_two_turns_of_a_node() -> None:
    """On a server with one place, a request ahead would take the cache of that conversation."""
    engine = Measured()
    with engine.node_asks():
        assert engine.has_room()
        assert not engine.is_idle()
    assert engine.is_idle()


async def test_a_node_that_asks_closes_the_requests_ahead_that_make_way() -> None:
    engine, ended = Measured(), list[bool]()

    async def send(yields: bool) -> None:
        with engine.ahead(yields=yields) as scope:
            await begun.wait()
            await anyio.sleep_forever()
        ended.append(scope.cancelled_caught)

    begun = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(send, True)
            group.start_soon(send, False)
            begun.set()
            await anyio.wait_all_tasks_blocked()
            assert engine.running == 2
            with engine.node_asks():
                await anyio.wait_all_tasks_blocked()
            assert ended == [True]
            assert engine.running == 1
            group.cancel_scope.cancel()


def test_engines_of_one_server_see_each_other_under_any_name_and_in_any_pipeline() -> None:
    url = "http://127.0.0.1:8000"
    vllm = VllmEngine(url, name="first")
    first = Measured(loads_of(vllm))
    for other in (
        VllmEngine(f"{url}/v1", name="second"),
        AutoEngine(url),
        EnginePool([vllm], name="pool"),
        vllm,
    ):
        with Measured(loads_of(other)).node_asks():
            assert not first.is_idle()
        assert first.is_idle()
    with Measured(loads_of(VllmEngine("http://127.0.0.1:8001"))).node_asks():
        assert first.is_idle()


def test_beginnings_are_remembered_up_to_a_bound() -> None:
    engine = Measured()
    for number in range(measured.REMEMBERED + 1):
        engine.note_read((number,))
    assert not engine.has_read((0,))
    assert engine.has_read((1,))
    assert engine.has_read((REMEMBERED,))
