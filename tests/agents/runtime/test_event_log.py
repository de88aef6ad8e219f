"""The stream of events: order, back-pressure while somebody reads, a bounded backlog while nobody does."""

import anyio
import pytest

from codec_agents.events import NodeStarted
from codec_agents.exceptions import RunError
from codec_agents.runtime.event_log import EVENT_BACKLOG, EVENT_BOUND, EventLog

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


def event(number: int) -> NodeStarted:
    return NodeStarted(str(number), float(number))


async def test_events_come_in_order_from_the_first_on() -> None:
    log = EventLog()
    for number in range(10):
        await log.write(event(number))
    log.close()
    assert [e.at for e in [e async for e in log.read()] if isinstance(e, NodeStarted)] == list(range(10))


async def test_without_a_reader_only_the_last_events_are_kept_and_nothing_waits() -> None:
    log = EventLog()
    for number in range(EVENT_BACKLOG * 3):
        await log.write(event(number))
    log.close()
    kept = [e async for e in log.read()]
    assert len(kept) == EVENT_BACKLOG
    assert kept[-1] == event(EVENT_BACKLOG * 3 - 1)


async def test_a_slow_reader_stalls_the_writers() -> None:
    log = EventLog()
    written = 0

    async def write() -> None:
        nonlocal written
        for number in range(EVENT_BOUND * 3):
            await log.write(event(number))
            written += 1

    reader = log.read()
    await log.write(event(-1))
    assert await anext(reader) == event(-1)
    async with anyio.create_task_group() as group:
        group.start_soon(write)
        group.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        assert written == EVENT_BOUND
        for _ in range(EVENT_BOUND * 6):
            await anext(reader)
    assert written == EVENT_BOUND * 6
    del reader


async def test_a_second_reader_is_refused_until_the_first_one_has_left() -> None:
    log = EventLog()
    await log.write(event(0))
    await log.write(event(1))
    reader = log.read()
    assert await anext(reader) == event(0)
    with pytest.raises(RunError, match="being read already"):
        log.read()
    del reader
    assert await anext(log.read()) == event(1)


@pytest.mark.parametrize("error", [None, RunError("the run failed")])
async def test_a_reader_that_has_read_all_takes_nothing_from_another(error: RunError | None) -> None:
    log = EventLog()
    await log.write(event(0))
    reader = log.read()
    log.close(error)
    with pytest.raises(RunError, match="being read already"):
        log.read()  # one event is left
    assert await anext(reader) == event(0)
    for each in (reader, log.read()):
        with pytest.raises(StopAsyncIteration if error is None else RunError):
            await anext(each)
