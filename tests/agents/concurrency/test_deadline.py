"""A bound in time: it stops what runs inside, and nothing else."""

import anyio
import pytest

from codec_agents.concurrency.deadline import EARLY, Deadline

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def test_what_ends_in_time_is_left_alone() -> None:
    with Deadline(10) as deadline:
        await anyio.lowlevel.checkpoint()
    assert not deadline.passed


async def test_what_takes_too_long_is_stopped_without_an_error() -> None:
    with Deadline(0.01) as deadline:
        await anyio.sleep_forever()
    assert deadline.passed
    await anyio.lowlevel.checkpoint()  # the task itself goes on


async def test_an_error_from_inside_goes_out() -> None:
    with pytest.raises(LookupError), Deadline(10):
        raise LookupError


async def test_a_cancellation_from_outside_is_not_the_deadline() -> None:
    deadline = Deadline(10)
    with anyio.CancelScope() as outside:
        with deadline:
            outside.cancel()
            await anyio.sleep_forever()
        pytest.fail("the cancellation was swallowed")
    assert not deadline.passed


async def test_a_cancellation_from_outside_wins_over_a_deadline_that_has_passed() -> None:
    deadline = Deadline(0.01)
    with anyio.CancelScope() as outside:
        with deadline:
            try:
                await anyio.sleep_forever()
            finally:
                outside.cancel()
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        pytest.fail("the cancellation was swallowed")


async def test_tasks_inside_are_stopped_as_well() -> None:
    ended = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    with Deadline(0.01) as deadline:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            group.start_soon(work)
    assert deadline.passed
    assert ended == [True, True]


async def test_the_inner_one_of_two_stops_only_what_is_inside() -> None:
    with Deadline(10) as outer:
        with Deadline(0.01) as inner:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
    assert (inner.passed, outer.passed) == (True, False)


async def test_many_bounds_are_over_each_in_its_own_time() -> None:
    """None early, and none kept waiting for a later one."""
    short = (0.06, 0.02, 0.04)
    took: dict[float, float] = {}
    all_short = anyio.Event()

    async def stopped(seconds: float) -> None:
        began = anyio.current_time()
        with Deadline(seconds):
            await anyio.sleep_forever()
        took[seconds] = anyio.current_time() - began
        if len(took) == len(short):
            all_short.set()

    async with anyio.create_task_group() as group:
        for seconds in (*short, 3600.0):
            group.start_soon(stopped, seconds)
        await all_short.wait()
        group.cancel_scope.cancel()
    assert sorted(took) == sorted(short)
    assert all(passed >= seconds - EARLY for seconds, passed in took.items())


async def test_a_bound_that_is_begun_later_and_over_earlier_does_not_wait() -> None:
    with Deadline(3600) as far, Deadline(0.0) as near:
        await anyio.sleep_forever()
    assert (near.passed, far.passed) == (True, False)


async def test_a_bound_after_one_that_has_passed_holds_as_well() -> None:
    for _ in range(3):
        with Deadline(0.005) as deadline:
            await anyio.sleep_forever()
        assert deadline.passed
