"""Which requests get the answer of an earlier one, and which are samples of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from codec_agents.exceptions import StoreError
from codec_agents.server import ServerSettings
from codec_agents.server.apis.request import Hints
from codec_agents.server.gateway.conversations import Exchange
from codec_agents.server.gateway.repeats import AGE, MOST_FAILURES, Repeats, Sent
from codec_agents.server.http import ClientGoneError, HttpError
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


def sent(body: bytes = b"{}", *, tenant: bytes = b"t", **hints: Any) -> Sent:
    return Sent.of(tenant, "/", body, Hints(**hints))


def fail(repeats: Repeats, whose: bytes, error: BaseException) -> None:
    """Let a request fail before it is known."""
    with pytest.raises(type(error)), repeats.noting(whose):
        raise error


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
    fail(repeats, key.client, HttpError(503, "busy"))
    assert await repeats.earlier(key) is first


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (HttpError(400, "no JSON"), False),
        (HttpError(404, "no such response"), False),
        (HttpError(413, "too long"), False),
        *((HttpError(status, "later"), True) for status in (408, 409, 429, 500, 503)),
        (StoreError("no disk"), True),
        (ClientGoneError(), True),
    ],
)
async def test_failures_that_clients_retry_end_repetition_for_their_key_or_client_alone(
    error: BaseException, retried: bool
) -> None:
    repeats, first = Repeats(), exchange()
    retry, same_client = sent(retry_count=1), sent(b"[]", retry_count=1)
    other = sent(tenant=b"u", retry_count=1)
    for each in (retry, same_client, other):
        repeats.begun(each, first)
    for whose, concerned in [(retry.key, [retry]), (retry.client, [retry, same_client])]:
        fail(repeats, whose, error)
        for each in (retry, same_client, other):
            kept = each not in concerned or not retried
            assert (await repeats.earlier(each) is first) is kept


async def test_failures_that_are_forgotten_count_for_all_clients() -> None:
    """Otherwise a retry might get another's sample: that its request failed is no longer known."""
    now, first = 0.0, exchange()
    repeats = Repeats(lambda: now)
    for number in range(MOST_FAILURES):
        repeats._note(b"%d" % number)
    now = 1.0
    retry = sent(retry_count=1)
    repeats.begun(retry, first)
    assert await repeats.earlier(retry) is first
    fail(repeats, b"one more", HttpError(503, "busy"))
    assert len(repeats._failed) == MOST_FAILURES
    assert await repeats.earlier(retry) is None
    now = AGE + 0.5
    assert await repeats.earlier(retry) is first


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


async def test_what_is_refused_to_others_or_for_good_ends_no_repetition() -> None:
    async with serving(settings=ServerSettings(max_streams=1)) as gateway:
        first = await gateway.ask(messages=[USER])
        assert (await gateway.ask(messages=[USER], nonsense=1)).status_code == 400
        gateway.gateway.generating += 1
        other = {"x-codec-tenant": "other"}
        assert (await gateway.ask(messages=[USER], headers=other)).status_code == 503
        counted = await gateway.client.post("/v1/messages/count_tokens", json={"messages": [USER]})
        assert counted.status_code == 503
        gateway.gateway.generating -= 1
        second = await gateway.ask(messages=[USER], headers=RETRY)
        assert first.json()["choices"] == second.json()["choices"]
        assert len(gateway.gateway.store) == 1  # type: ignore[arg-type]
