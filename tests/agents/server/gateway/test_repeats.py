"""Which requests get the answer of an earlier one, and which are samples of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from codec_agents.server import ServerSettings
from codec_agents.server.apis.request import Hints
from codec_agents.server.gateway.conversations import Exchange
from codec_agents.server.gateway.repeats import AGE, Repeats, Sent
from tests.agents.server.gateway.test_gateway import USER, serving

pytestmark = pytest.mark.asyncio

RETRY = {"x-stainless-retry-count": "1"}


def exchange(*, partial: bool = False) -> Exchange:
    """Return an exchange that is over."""
    ended = anyio.Event()
    ended.set()
    made = SimpleNamespace(
        continuation=SimpleNamespace(size=200),
        node=SimpleNamespace(partial=partial),
        values=SimpleNamespace(lost=False),
        ended=ended,
    )
    return cast("Exchange", made)


def sent(body: bytes = b"{}", **hints: Any) -> Sent:
    return Sent.of(b"t", "/", body, Hints(**hints))


async def test_remembered_requests_are_bounded_by_their_bytes() -> None:
    """Those of their conversations count: the store may have evicted them."""
    repeats = Repeats(most_bytes=1000)
    for number in range(30):
        repeats.begun(sent(b"%d" % number + b"x" * 98, retry_count=1), exchange())
    assert len(repeats._known) == 3
    repeats.begun(sent(b"x" * 900), exchange())
    assert not repeats._known
    assert repeats._bytes == 0


async def test_a_retry_repeats_the_one_request_that_it_can_be_of() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    first = exchange()
    repeats.begun(sent(), first)
    assert await repeats.earlier(sent()) is None, "the same body without a count is another sample"
    assert await repeats.earlier(sent(retry_count=1)) is first
    repeats.begun(sent(), exchange())
    assert await repeats.earlier(sent(retry_count=1)) is None, "it may be of either"
    repeats.begun(sent(retry_count=1), exchange())
    assert await repeats.earlier(sent(retry_count=2)) is None, "it may be of any of the three"
    now = AGE + 1
    last = exchange()
    repeats.begun(sent(), last)
    assert await repeats.earlier(sent(retry_count=1)) is last, "the others are too long ago"


async def test_a_retry_of_a_broken_answer_is_repeated_in_turn() -> None:
    repeats, whole = Repeats(), exchange()
    repeats.begun(sent(), exchange(partial=True))
    assert await repeats.earlier(sent(retry_count=1)) is None
    repeats.begun(sent(retry_count=1), whole)
    assert await repeats.earlier(sent(retry_count=2)) is whole


async def test_a_key_repeats_its_request_among_any_others() -> None:
    repeats, first = Repeats(), exchange()
    key = sent(idempotency_key="k")
    repeats.begun(key, first)
    repeats.begun(sent(), exchange())
    repeats.failed()
    assert await repeats.earlier(key) is first


async def test_what_repeats_a_request_waits_until_that_is_prepared() -> None:
    """A long history is read away from the event loop; a second request comes in the meantime."""
    repeats, first, key = Repeats(), exchange(), sent(idempotency_key="k")
    found: list[Exchange | None] = []

    async def repeated() -> None:
        found.append(await repeats.earlier(key))

    async with anyio.create_task_group() as group:
        with repeats.beginning(key):
            group.start_soon(repeated)
            await anyio.wait_all_tasks_blocked()
            repeats.begun(key, first)
    assert found == [first]


async def test_a_retry_of_a_refused_request_is_a_sample_of_its_own() -> None:
    """A client draws two samples of one prompt: a busy server refuses the second one, and it retries."""
    async with serving(settings=ServerSettings(max_streams=1)) as gateway:
        first = await gateway.ask(messages=[USER])
        gateway.gateway.generating += 1
        assert (await gateway.ask(messages=[USER])).status_code == 503
        gateway.gateway.generating -= 1
        second = await gateway.ask(messages=[USER], headers=RETRY)
        assert (first.status_code, second.status_code) == (200, 200)
        assert len(gateway.gateway.store) == 2  # type: ignore[arg-type]
