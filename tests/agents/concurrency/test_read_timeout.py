"""Waiting for chunks until a deadline that moves."""

import math

import anyio
import anyio.lowlevel
import pytest

from codec_agents.concurrency.read_timeout import OutOfTimeError, Patience

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def chunks(*pauses):
    for pause in pauses:
        await anyio.sleep(pause)
        yield b"x"


async def test_chunks_and_the_end_come_through():
    source = chunks(0, 0)
    patience = Patience(lambda: math.inf)
    assert [await patience.next(source) for _ in range(3)] == [b"x", b"x", None]


async def test_a_deadline_that_moves_on_is_not_met():
    source, patience = chunks(0.2, 0.2, 0.2), Patience(lambda: begun + 0.5)
    for expected in (b"x", b"x", b"x", None):
        begun = anyio.current_time()
        assert await patience.next(source) == expected
    patience.close()


@pytest.mark.parametrize("first", [math.inf, 60.0])
async def test_a_deadline_that_comes_nearer_is_kept(first):
    instants = [anyio.current_time() + first]
    source, patience = chunks(0, 60), Patience(lambda: instants[-1])
    assert await patience.next(source) == b"x"
    instants.append(anyio.current_time() + 0.01)
    with pytest.raises(OutOfTimeError), anyio.fail_after(5):
        await patience.next(source)


async def test_being_cancelled_from_outside_is_no_matter_of_time():
    with anyio.move_on_after(0.01) as scope:
        await Patience(lambda: math.inf).next(chunks(60))
    assert scope.cancelled_caught
    await anyio.lowlevel.checkpoint()  # nothing of the cancellation is left


async def test_a_cancellation_at_the_deadline_is_not_swallowed():
    now = anyio.current_time()
    with anyio.CancelScope(deadline=now - 1) as scope:
        await Patience(lambda: now - 1).next(chunks(60))
    assert scope.cancelled_caught
