"""Bounded channels: order, bound, back-pressure, completion."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents.concurrency.signal import Signal
from codec_agents.runtime.edges.channel import Arrivals, Channel

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@BACKENDS
async def test_everything_arrives_in_order_whatever_the_bound() -> None:
    channel: Channel[list[int]] = Channel(bound=3)
    sent = [[i] * (i % 5) for i in range(50)]
    received: list[int] = []

    async def produce() -> None:
        for batch in sent:
            await channel.send(batch)
        channel.close()

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async for batches in channel:
            for batch in batches:
                received += batch
    assert received == [i for batch in sent for i in batch]


@BACKENDS
async def test_a_full_channel_stalls_its_producer_until_there_is_room() -> None:
    channel: Channel[list[int]] = Channel(bound=4)
    progress: list[str] = []

    async def produce() -> None:
        await channel.send([1, 2, 3])
        progress.append("first")
        await channel.send([4, 5])
        progress.append("second")

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert progress == ["first"]
        assert channel.held == 3
        assert channel.take() == [[1, 2, 3]]
        await anyio.wait_all_tasks_blocked()
        assert progress == ["first", "second"]
    assert channel.waited == 1


async def test_a_batch_larger_than_the_bound_is_taken_whole() -> None:
    channel: Channel[list[int]] = Channel(bound=2)
    await channel.send([1, 2, 3, 4])
    assert channel.take() == [[1, 2, 3, 4]]


@BACKENDS
async def test_an_abandoned_channel_frees_its_producer() -> None:
    channel: Channel[list[int]] = Channel(bound=1)
    async with anyio.create_task_group() as group:
        await channel.send([1])
        group.start_soon(channel.send, [2])
        await anyio.wait_all_tasks_blocked()
        channel.abandon()
    await channel.send([3, 4])
    assert channel.take() == []
    assert (channel.taken, channel.held) == (4, 0), "all that was sent counts"


@BACKENDS
async def test_two_inputs_of_one_producer_cannot_wait_for_each_other() -> None:
    """A node that read its inputs one after the other would never see the end of the first."""
    ready = Signal()
    channels: list[Channel[list[int]]] = [Channel(bound=2, ready=ready) for _ in range(2)]
    got: list[list[int]] = [[], []]

    async def produce() -> None:
        for i in range(20):
            await channels[1].send([i])
        for i in range(20):
            await channels[0].send([i])
        for channel in channels:
            channel.close()

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async for index, batches in Arrivals(channels, ready):
            for batch in batches:
                got[index] += batch
    assert got == [list(range(20))] * 2


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=30), st.integers(1, 9))
def test_held_counts_the_items_between_send_and_take(batches: list[list[int]], bound: int) -> None:
    async def check() -> None:
        channel: Channel[list[int]] = Channel(bound)
        for batch in batches:
            if channel.held and channel.held + len(batch) > bound:
                channel.take()
            await channel.send(batch)
            assert channel.held <= max(bound, len(batch))

    anyio.run(check)


class Kept:
    """A receiver that keeps what it is given, as soon as it has room."""

    def __init__(self, channel: Channel[list[int]]) -> None:
        self.batches: list[list[int]] = []
        self.ends: list[bool] = []
        self.channel = channel
        self.has_room = True
        self.more = Signal()

    async def take(self, batch: list[int], /) -> None:
        while not self.has_room:
            await self.channel.wait_for_room(self.more.wait)
        self.batches.append(batch)

    async def flush(self) -> None:
        self.batches.append([-1])

    def end(self, *, skipped: bool) -> None:
        self.ends.append(skipped)


async def test_a_receiver_gets_what_was_queued_and_then_each_batch_as_it_is_sent() -> None:
    channel: Channel[list[int]] = Channel(bound=9)
    receiver = Kept(channel)
    await channel.send([1])
    await channel.send([2, 3])
    await channel.deliver_to(receiver)
    await channel.send([4])
    assert receiver.batches == [[1], [2, 3], [4]]
    assert (channel.held, channel.taken) == (0, 4)
    await channel.flush()
    channel.close()
    assert receiver.batches[-1] == [-1]
    assert receiver.ends == [False]


@BACKENDS
async def test_a_receiver_that_comes_while_the_producer_waits_gets_that_batch_too() -> None:
    channel: Channel[list[int]] = Channel(bound=1)
    receiver = Kept(channel)

    async def produce() -> None:
        for number in range(4):
            await channel.send([number])
        channel.close()

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        await channel.deliver_to(receiver)
    assert receiver.batches == [[0], [1], [2], [3]]
    assert (channel.held, receiver.ends) == (0, [False])


async def test_a_receiver_of_a_channel_that_was_closed_before_is_told() -> None:
    channel: Channel[list[int]] = Channel(bound=9)
    receiver = Kept(channel)
    channel.close(skipped=True)
    await channel.deliver_to(receiver)
    assert receiver.ends == [True]


@BACKENDS
async def test_a_receiver_that_lags_stalls_the_producer_until_it_has_room() -> None:
    channel: Channel[list[int]] = Channel(bound=1)
    receiver = Kept(channel)
    await channel.deliver_to(receiver)
    receiver.has_room = False
    async with anyio.create_task_group() as group:
        group.start_soon(channel.send, [1, 2])
        await anyio.wait_all_tasks_blocked()
        assert receiver.batches == []
        assert channel.blocked_since is not None
        receiver.has_room = True
        receiver.more.give()
    assert receiver.batches == [[1, 2]]
    assert channel.waited == 1
