"""Reads of a stream, each within a deadline that moves."""

import asyncio
import math

import anyio
import anyio.lowlevel
import pytest

from codec_agents.concurrency.deadline import OutOfTimeError, ReadTimeout

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Chunks:
    """Gives a chunk after each pause; on asyncio, a read can be ended by an error, as aiohttp's can."""

    def __init__(self, *pauses):
        self._pauses = list(pauses)
        self._aborted = None

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self._pauses:
            raise StopAsyncIteration
        pause = self._pauses.pop(0)
        if pause == 0:
            return b"x"
        self._aborted = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._aborted], timeout=pause)
        if self._aborted.done():
            raise self._aborted.exception()
        return b"x"

    def abort(self, error):
        if self._aborted is not None and not self._aborted.done():
            self._aborted.set_exception(error)


async def chunks(*pauses):
    for pause in pauses:
        await anyio.sleep(pause)
        yield b"x"


@pytest.fixture(params=["scope", "abort"])
def reading(request, anyio_backend_name):
    """Give a function that returns a source of chunks and its time-out, for a client of either kind."""
    if request.param == "abort" and anyio_backend_name != "asyncio":
        pytest.skip("no client can end a read there")

    def make(instant, *pauses):
        if request.param == "scope":
            return chunks(*pauses), ReadTimeout(instant)
        source = Chunks(*pauses)
        return source, ReadTimeout(instant, source.abort)

    return make


async def test_chunks_and_the_end_come_through(reading):
    source, timeout = reading(lambda: math.inf, 0, 0)
    assert [await timeout.next(source) for _ in range(3)] == [b"x", b"x", None]


async def test_a_deadline_that_moves_on_is_not_met(reading):
    # Together the reads take longer than the time that each of them has.
    reads = 30
    source, timeout = reading(lambda: begun + 0.5, *[0.02] * reads)
    for expected in [*[b"x"] * reads, None]:
        begun = anyio.current_time()
        assert await timeout.next(source) == expected
    timeout.close()


@pytest.mark.parametrize("first", [math.inf, 60.0])
async def test_a_deadline_that_comes_nearer_is_kept(reading, first):
    instants = [anyio.current_time() + first]
    source, timeout = reading(lambda: instants[-1], 0, 60)
    assert await timeout.next(source) == b"x"
    instants.append(anyio.current_time() + 0.01)
    with pytest.raises(OutOfTimeError), anyio.fail_after(5):
        await timeout.next(source)


async def test_a_deadline_that_has_passed_ends_a_read_that_waits(reading):
    now = anyio.current_time()
    source, timeout = reading(lambda: now - 1, 60)
    with pytest.raises(OutOfTimeError), anyio.fail_after(5):
        await timeout.next(source)


async def test_being_cancelled_from_outside_is_no_matter_of_time(reading):
    source, timeout = reading(lambda: math.inf, 60)
    with anyio.move_on_after(0.01) as scope:
        await timeout.next(source)
    assert scope.cancelled_caught
    await anyio.lowlevel.checkpoint()  # nothing of the cancellation is left
