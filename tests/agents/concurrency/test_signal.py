"""Signals: none is lost, and waits that were cancelled leave nothing behind."""

from __future__ import annotations

import anyio
import pytest

from codec_agents.concurrency.signal import Signal

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def test_a_signal_is_kept_for_the_next_wait() -> None:
    signal = Signal()
    signal.give()
    signal.give()
    await signal.wait()
    with anyio.move_on_after(0) as late:
        await signal.wait()
    assert late.cancelled_caught


async def test_a_signal_wakes_all_that_wait_but_those_that_were_cancelled() -> None:
    signal, woken = Signal(), list[int]()

    async def wait(number: int) -> None:
        await signal.wait()
        woken.append(number)

    async with anyio.create_task_group() as group:
        left = anyio.CancelScope()

        async def leave() -> None:
            with left:
                await wait(0)

        group.start_soon(leave)
        group.start_soon(wait, 1)
        group.start_soon(wait, 2)
        await anyio.wait_all_tasks_blocked()
        left.cancel()
        await anyio.wait_all_tasks_blocked()
        signal.give()
    assert sorted(woken) == [1, 2]


async def test_waits_that_were_cancelled_leave_nothing_behind() -> None:
    signal = Signal()
    for _ in range(5):
        with anyio.move_on_after(0):
            await signal.wait()
    assert len(signal._waiting) <= 1
