"""Pools of replicas: placement, affinity, fail-over from the exact prefix, rests, draining."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from codec_agents import Pipeline, PipelineError
from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.http.engine import SESSION_HEADERS
from codec_agents.engines.pool import BLOCK, FIRST_REST, LONGEST_REST, SLACK, EnginePool
from codec_agents.exceptions import EngineError, EngineStatusError, EngineStreamError, EngineUnavailableError
from codec_agents.testing import Cut, EmbeddedEngine, Raw, ScriptedEngine
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.stock_servers import StockServer, vllm_completions

pytestmark = pytest.mark.anyio

VOCABULARY = vocabulary_of(bundled_map("demo/bytes"))


class Fake:
    """A replica that notes what it is asked, and fails when it is told to."""

    provider = "fake"
    continues = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[GenerationRequest] = []
        self.failure: EngineError | None = None
        self.healthy = True
        self.health_checks = 0

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[Any]:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        yield StreamStats()

    async def is_healthy(self, _: Any) -> bool:
        self.health_checks += 1
        return self.healthy

    async def aclose(self) -> None:
        self.failure = EngineUnavailableError(self.name, "closed")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pool_of(count: int) -> tuple[EnginePool, list[Fake], Clock]:
    replicas, clock = [Fake(f"E[{number}]") for number in range(1, count + 1)], Clock()
    return EnginePool(replicas, name="E", now=clock), replicas, clock


def ask(session: str = "", prompt: list[int] | None = None) -> GenerationRequest:
    return GenerationRequest(prompt_ids=prompt or [1, 2, 3], vocabulary=VOCABULARY, session=session)


async def once(pool: EnginePool, request: GenerationRequest) -> None:
    async with pool.stream(request):
        pass


async def test_requests_in_flight_are_spread_over_the_replicas() -> None:
    pool, replicas, _ = pool_of(3)
    async with AsyncExitStack() as stack:
        for number in range(6):
            await stack.enter_async_context(pool.stream(ask(str(number))))
        assert [len(each.asked) for each in replicas] == [2, 2, 2]
        assert set(pool.state.values()) == {"alive, 2 in flight"}
    assert set(pool.state.values()) == {"alive, 0 in flight"}


async def test_a_refused_request_ahead_lets_no_replica_rest_and_tries_no_other() -> None:
    pool, replicas, _ = pool_of(2)
    replicas[0].failure = EngineStatusError("E[1]", 429, "too many requests")
    ahead = msgspec.structs.replace(ask("a"), ahead=True)
    with pytest.raises(EngineStatusError):
        await once(pool, ahead)
    assert [len(each.asked) for each in replicas] == [1, 0]
    assert set(pool.state.values()) == {"alive, 0 in flight"}
    replicas[0].failure = None
    with pytest.raises(EngineStreamError):
        async with pool.stream(ahead):
            raise EngineStreamError("E[1]", "it broke off")
    assert set(pool.state.values()) == {"alive, 0 in flight"}


async def test_a_request_ahead_is_sent_to_no_replica_that_has_failed() -> None:
    pool, [replica], clock = pool_of(1)
    replica.failure = EngineUnavailableError("E[1]", "down")
    with pytest.raises(EngineUnavailableError):
        await once(pool, ask())
    for _ in range(2):  # while it rests, and when its rest is over and it has not been asked since
        with pytest.raises(EngineUnavailableError, match="no replica is well"):
            await once(pool, msgspec.structs.replace(ask(), ahead=True))
        clock.now += LONGEST_REST
    assert (len(replica.asked), replica.health_checks) == (1, 0)


async def test_the_context_is_the_smallest_of_the_replicas_that_live() -> None:
    """A policy that depends on the context does not end runs that another replica could serve."""
    pool, (first, second, third), clock = pool_of(3)
    asked: list[str] = []

    def telling(replica: Fake, context: int | None) -> None:
        async def context_length(_: GenerationRequest) -> int | None:
            asked.append(replica.name)
            if replica.failure is not None:
                raise replica.failure
            return context

        replica.context_length = context_length  # type: ignore[attr-defined]

    telling(first, 100)
    telling(second, 50)
    telling(third, 10)
    third.failure = EngineUnavailableError(third.name, "nothing listens")
    for _ in range(2):
        assert await pool.context_length(ask()) == 50
    assert asked == ["E[1]", "E[2]", "E[3]", "E[1]", "E[2]"], "one that is down is not asked each time"
    third.failure = None
    clock.now += LONGEST_REST
    assert await pool.context_length(ask()) == 10
    await pool.drain(third.name)
    telling(second, None)
    assert await pool.context_length(ask()) is None
    first.failure = second.failure = EngineUnavailableError(first.name, "nothing listens")
    with pytest.raises(EngineUnavailableError):
        await pool.context_length(ask())
    with pytest.raises(EngineUnavailableError):  # all rest: the one that has rested longest is asked
        await pool.context_length(ask())
    await pool.drain(first.name)
    await pool.drain(second.name)
    with pytest.raises(EngineUnavailableError, match=r"no replica is well: E\[1\] \(draining, 0 in flight\)"):
        await pool.context_length(ask())


async def test_a_conversation_stays_on_its_replica_whatever_the_load() -> None:
    pool, replicas, _ = pool_of(2)
    async with AsyncExitStack() as stack:
        for _ in range(9):
            await stack.enter_async_context(pool.stream(ask("one")))
        assert [len(each.asked) for each in replicas] == [9, 0]


async def test_a_known_beginning_decides_until_its_replica_has_much_more_to_do() -> None:
    pool, replicas, _ = pool_of(2)
    document = [number % 250 for number in range(3 * BLOCK)]
    async with AsyncExitStack() as stack:
        for number in range(SLACK + 4):
            await stack.enter_async_context(pool.stream(ask(str(number), [*document, number])))
        assert [len(each.asked) for each in replicas] == [SLACK + 1, 3]


async def test_a_beginning_shorter_than_a_block_decides_nothing() -> None:
    pool, replicas, _ = pool_of(2)
    async with pool.stream(ask("a")), pool.stream(ask("b")):
        assert [len(each.asked) for each in replicas] == [1, 1]


async def test_a_replica_that_cannot_begin_is_replaced_at_once_and_rests() -> None:
    pool, (first, second), clock = pool_of(2)
    first.failure = EngineUnavailableError("E[1]", "down")
    await once(pool, ask("one"))
    await once(pool, ask("two"))
    assert (len(first.asked), len(second.asked), first.health_checks) == (1, 2, 0)
    clock.now += FIRST_REST
    first.failure = None
    await once(pool, ask("three"))
    assert (len(first.asked), first.health_checks) == (2, 1)


async def test_a_conversation_goes_on_elsewhere_and_stays_there() -> None:
    pool, (first, second), clock = pool_of(2)
    await once(pool, ask("one"))
    first.failure = EngineStatusError("E[1]", 503)
    await once(pool, ask("one"))
    first.failure = None
    clock.now += 1000
    await once(pool, ask("one"))
    assert (len(first.asked), len(second.asked)) == (2, 2)


async def test_an_unhealthy_replica_rests_longer_each_time() -> None:
    pool, (first, second), clock = pool_of(2)
    first.failure, first.healthy = EngineUnavailableError("E[1]", "down"), False
    await once(pool, ask("one"))
    for rest in (1, 2, 4, 8, 16, 30, 30):
        clock.now += rest - 0.5
        checks = first.health_checks
        await once(pool, ask())
        assert first.health_checks == checks
        clock.now += 0.5
        await once(pool, ask())
        assert first.health_checks == checks + 1
    assert len(first.asked) == 1
    assert len(second.asked) == 15


async def test_a_refusal_is_no_failure_of_the_replica() -> None:
    pool, (first, second), _ = pool_of(2)
    first.failure = EngineStatusError("E[1]", 400, "a bad request")
    with pytest.raises(EngineStatusError, match="a bad request"):
        await once(pool, ask())
    assert second.asked == []
    assert pool.state["E[1]"] == "alive, 0 in flight"


async def test_without_a_living_replica_the_one_that_rested_longest_is_tried() -> None:
    pool, replicas, _ = pool_of(2)
    for each in replicas:
        each.failure = EngineUnavailableError(each.name, "down")
    with pytest.raises(EngineUnavailableError):
        await once(pool, ask())
    replicas[0].failure = None
    await once(pool, ask())
    for each in replicas:
        each.failure, each.healthy = EngineUnavailableError(each.name, "down"), False
    with pytest.raises(EngineUnavailableError):
        await once(pool, ask())
    with pytest.raises(EngineUnavailableError, match=r"no replica is well: E\[1\] \(resting, 0 in flight\)"):
        await once(pool, ask())


async def test_draining_waits_for_what_is_in_flight_and_moves_conversations() -> None:
    pool, (first, second), _ = pool_of(2)
    async with anyio.create_task_group() as group, pool.stream(ask("one")):
        group.start_soon(pool.drain, "E[1]")
        await anyio.wait_all_tasks_blocked()
        await once(pool, ask("one"))
        assert pool.state["E[1]"] == "draining, 1 in flight"
        assert (len(first.asked), len(second.asked)) == (1, 1)
    pool.undrain("E[1]")
    assert pool.state["E[1]"] == "alive, 0 in flight"
    with pytest.raises(KeyError, match=r"has no replica 'x'; it has E\[1\]"):
        await pool.drain("x")


async def test_draining_waits_until_the_last_stream_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, (first, _), _ = pool_of(2)
    closing, may_close = anyio.Event(), anyio.Event()
    seen: list[str] = []

    @asynccontextmanager
    async def slow_to_close(_: GenerationRequest) -> AsyncIterator[Any]:
        yield StreamStats()
        closing.set()
        await may_close.wait()
        seen.append("closed")

    async def drain() -> None:
        await closing.wait()
        await pool.drain("E[1]")
        seen.append("drained")

    monkeypatch.setattr(first, "stream", slow_to_close)
    async with anyio.create_task_group() as group:
        group.start_soon(once, pool, ask("one"))
        group.start_soon(drain)
        await anyio.wait_all_tasks_blocked()
        assert pool.state["E[1]"] == "draining, 1 in flight"
        may_close.set()
    assert seen == ["closed", "drained"]
    assert pool.state["E[1]"] == "draining, 0 in flight"


async def test_an_error_after_the_beginning_says_that_another_replica_can_go_on() -> None:
    pool, _, _ = pool_of(2)
    broken = EngineStreamError("E[1]", "cut off")
    with pytest.raises(EngineStreamError):
        async with pool.stream(ask()):
            raise broken
    assert broken.elsewhere
    pool, _, _ = pool_of(1)
    broken = EngineStreamError("E[1]", "cut off")
    with pytest.raises(EngineStreamError):
        async with pool.stream(ask()):
            raise broken
    assert not broken.elsewhere


STORY = "Once there was a train that went from Lisbon to Oslo, and it was late."


def telling(engine: Any) -> Pipeline:
    p = Pipeline("tell").input("q").sink("out")
    # A retry that waited at all would wait for longer than the test may take.
    policy = {"retry": {"initial": 600, "max": 600, "jitter": 0}}
    p.model("m", engine=engine, map="demo/bytes", prompt="{q}", policy=policy)
    return p.connect("q", "m.q").connect("m.answer", "out")


@pytest.mark.parametrize("after", [1, 7, 20])
async def test_an_answer_that_breaks_off_goes_on_elsewhere_from_its_exact_prefix(after: int) -> None:
    whole = await telling(ScriptedEngine(lambda _: STORY)).invoke({"q": "?"})

    ids = pick_tokenizer(VOCABULARY).encode_ordinary(STORY)

    def dying(_: Any) -> list[Any]:
        return [Raw(ids[:after]), Cut(), Raw(ids[after:])]

    replicas = [EmbeddedEngine(dying, name="E[1]"), EmbeddedEngine(lambda _: STORY, name="E[2]")]
    pool = EnginePool(replicas, name="E")
    result = await telling(pool).invoke({"q": "?"})
    assert result.ids == whole.ids
    assert result.usage["m"].retries == 1
    assert [len(each.app.exchanges.generations) for each in replicas] == [1, 1]
    await pool.aclose()


def test_a_declared_pool_has_a_replica_for_each_url() -> None:
    p = Pipeline.from_yaml("""
pipeline: pooled
engines: {E: {kind: vllm, urls: ["http://127.0.0.1:1", "http://127.0.0.1:2"], options: {handshake: false}}}
nodes: {m: {prompt: "{q}", map: demo/bytes}}
edges: [q -> m.q, m -> out]
""")
    engine = p.build().nodes["m"].engine  # type: ignore[attr-defined]
    assert isinstance(engine, EnginePool)
    assert [each.name for each in engine.replicas] == ["E[1]", "E[2]"]
    assert engine.enforced_forms == {"json_schema", "regex", "choice", "grammar", "ids"}


@pytest.mark.parametrize(
    "fields", [{"url": "http://a", "urls": ["http://b"]}, {"kind": "scripted", "urls": ["http://b"]}]
)
def test_urls_do_not_fit_everywhere(fields: dict[str, Any]) -> None:
    with pytest.raises(PipelineError, match="url"):
        Pipeline("x").engine("E", **fields)


async def test_a_conversation_has_one_session_in_the_headers_that_routers_read() -> None:
    turn_end = VOCABULARY.special_tokens["<|im_end|>"]
    async with StockServer({"/v1/completions": vllm_completions([65, 66, 67, 68, turn_end])}) as server:
        p = Pipeline("two").input("q").sink("out")
        p.engine("E", url=server.url, kind="vllm", options={"api": "completions", "handshake": False})
        for name in ("a", "b"):
            p.model(name, engine="E", map="demo/bytes", prompt="{q}")
            p.connect("q", f"{name}.q").connect(f"{name}.answer", "out")
        await p.invoke({"q": "?"}, run_id="my-run")
        await p.invoke({"q": "?"}, run_id="my-run")
    sessions = [
        {headers[name.lower()] for name in SESSION_HEADERS}
        for path, headers, _ in server.seen
        if path == "/v1/completions"
    ]
    assert all(len(each) == 1 for each in sessions)
    assert len(sessions) == 4
    assert len(set.union(*sessions)) == 2
    assert not any("my-run" in session for session in set.union(*sessions))


async def test_a_replica_that_is_down_for_a_day_rests_no_longer_and_breaks_nothing() -> None:
    pool, (replica,), clock = pool_of(1)
    replica.failure = EngineUnavailableError("E[1]", "down")
    for _ in range(1100):  # more than a power of two that a float can hold
        clock.now += LONGEST_REST
        with pytest.raises(EngineUnavailableError):
            await once(pool, ask())
    assert pool.state == {"E[1]": "resting, 0 in flight"}
    clock.now += LONGEST_REST
    assert pool.state == {"E[1]": "alive, 0 in flight"}
