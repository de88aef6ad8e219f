"""The output of a sink: kept for the result, followed by readers, stalled when all of them lag."""

import anyio
import pytest

from codec_agents.runtime.outputs import READ_AHEAD, SinkOutput

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def write(sink: SinkOutput, ids: list[int], text: str | None) -> None:
    """Add as nodes do: until whoever reads along is not far behind."""
    lags = sink.add(ids, text)
    while lags:
        await sink.room()
        lags = sink.lags


async def test_a_reader_sees_all_text_from_the_first_piece_on() -> None:
    sink = SinkOutput()
    await write(sink, [1], "a")
    await write(sink, [2], "")
    await write(sink, [3], "b")
    sink.close()
    assert [piece async for piece in sink.read_text()] == ["a", "b"]
    assert sink.text == "ab"
    assert sink.ids == [1, 2, 3]


async def test_without_a_reader_nothing_waits() -> None:
    sink = SinkOutput()
    for number in range(READ_AHEAD * 3):
        await write(sink, [number], None)
    assert len(sink.ids) == READ_AHEAD * 3


async def test_a_reader_that_stops_reading_stalls_the_stream() -> None:
    sink = SinkOutput()

    async def write_all() -> None:
        for number in range(READ_AHEAD * 3):
            await write(sink, [number], None)

    await write(sink, [-1], None)
    reader = sink.read_ids()
    assert await anext(reader) == [-1]
    async with anyio.create_task_group() as group:
        group.start_soon(write_all)
        await anyio.wait_all_tasks_blocked()
        assert len(sink.ids) == 1 + READ_AHEAD
        for _ in range(READ_AHEAD):
            await anext(reader)
        await anyio.wait_all_tasks_blocked()
        assert 1 + READ_AHEAD < len(sink.ids) < 1 + READ_AHEAD * 3
        del reader
    assert len(sink.ids) == 1 + READ_AHEAD * 3


async def test_each_reader_reads_the_whole_from_the_beginning_and_the_quickest_stalls_the_stream() -> None:
    """One that was begun and is kept may never read on: a run that waited for it would never end."""
    sink = SinkOutput()
    await write(sink, [0], "0")
    slow, quick = sink.read_ids(), sink.read_text()

    async def write_all() -> None:
        for number in range(1, READ_AHEAD * 3):
            await write(sink, [number], str(number))
        sink.close()

    assert await anext(slow) == [0]
    assert await anext(quick) == "0"
    async with anyio.create_task_group() as group:
        group.start_soon(write_all)
        await anyio.wait_all_tasks_blocked()
        assert len(sink.ids) == 1 + READ_AHEAD
        with anyio.fail_after(60):
            read = ["0", *[piece async for piece in quick]]
    ids = [batch async for batch in slow]
    assert ids == [[number] for number in range(1, READ_AHEAD * 3)]
    assert read == [str(number) for number in range(READ_AHEAD * 3)]
    assert [batch async for batch in sink.read_ids()] == [[0], *ids]
