"""What an engine is asked before its first request: once, however many requests begin at the same time."""

import threading

import anyio
import msgspec
import pytest
from anyio import wait_all_tasks_blocked

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import Timeouts
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStatusError, EngineTimeoutError, MapMismatchError
from codec_agents.server.recording import RecordingExchanges
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

REQUESTS = 5


@pytest.fixture
def answer(words):
    return [*pick_tokenizer(words).encode_ordinary("It is 17 degrees."), words.special_tokens["<|im_end|>"]]


async def many(engine, request, released=None):
    """Make requests at the same time; let go what they wait for when all of them wait; return their ids."""
    results = []

    async def one():
        try:
            async with engine.stream(request) as stream:
                results.append([token async for frame in stream for token in frame.ids])
        except Exception as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(REQUESTS):
            group.start_soon(one)
        if released is not None:
            await wait_all_tasks_blocked()
            released.set()
    await engine.aclose()
    return results


def held(released, route):
    """Answer only when all requests have begun."""

    def answered(asked):
        assert released.wait(10)
        return route(asked)

    return answered


def servers(stock, words, answer, released):
    """For each engine: its class, a server whose first answers are held back, and what is asked once."""
    tokenize = held(released, stock.tokenize_route(pick_tokenizer(words)))
    json = {"content-type": "application/json"}

    def completions(asked):
        if asked.get("stream"):
            return stock.vllm_completions(answer)(asked)
        return 200, json, [b'{"choices":[{"text":"x","token_ids":[5]}]}']

    def old_generate(asked):
        """Builds that do not stream it answer with a document."""
        return 200, json, [msgspec.json.encode({"choices": [{"index": 0, "token_ids": answer[:1]}]})]

    probe, whole = "/inference/v1/generate", "/v1/completions"
    completing = {whole: stock.vllm_completions(answer)}
    generating = {probe: held(released, stock.vllm_generate(answer))}
    refused = {probe: held(released, stock.refusing(403))}
    unstreamed = {probe: held(released, old_generate)}
    lamas = {
        "/tokenize": held(released, stock.tokenize_route(pick_tokenizer(words), "content")),
        "/completion": stock.llamacpp_completion(words, answer),
    }
    compared = {"/tokenize": tokenize}
    who = {"/server_info": 1, "/get_server_info": 1, "/props": 1}
    kinds = {
        "vllm with generate": (VllmEngine, {**compared, **generating}, {probe: REQUESTS + 1}),
        "vllm without": (VllmEngine, {**compared, **refused, **completing}, {probe: 1, whole: REQUESTS}),
        "vllm that does not stream it": (
            VllmEngine,
            {**compared, **unstreamed, **completing},
            {probe: 1, whole: REQUESTS},
        ),
        "sglang with completions": (SglangEngine, {**compared, whole: completions}, {whole: REQUESTS + 1}),
        "sglang without": (
            SglangEngine,
            {**compared, "/generate": stock.sglang_generate(answer)},
            {whole: 1, "/generate": REQUESTS},
        ),
        "llamacpp": (LlamaCppEngine, lamas, {"/completion": REQUESTS}),
        "auto": (
            AutoEngine,
            {**compared, **refused, **completing},
            {probe: 1, whole: REQUESTS + 1, **who},
        ),
    }
    return {kind: (made, routes, {"/tokenize": 2, **paths}) for kind, (made, routes, paths) in kinds.items()}


KINDS = (
    "vllm with generate", "vllm without", "vllm that does not stream it",
    "sglang with completions", "sglang without", "llamacpp", "auto",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_asked_once(words, ask, stock, answer, kind):
    released = threading.Event()
    engine_class, routes, expected = servers(stock, words, answer, released)[kind]
    async with stock.StockServer(routes) as server:
        engine = engine_class(server.url)
        assert await many(engine, ask(words), released) == [answer] * REQUESTS
        assert await many(engine, ask(words)) == [answer] * REQUESTS
    paths = server.paths()
    last = max(expected, key=lambda path: expected[path])
    expected[last] += REQUESTS  # the second time, nothing is asked any more
    assert {path: paths.count(path) for path in paths} == expected


@pytest.mark.parametrize("engine_class", [VllmEngine, SglangEngine])
async def test_the_prompt_is_no_part_of_the_question(words, ask, stock, answer, engine_class):
    """What can be done is asked while the prompt is still empty."""
    routes = {"/v1/completions": stock.vllm_completions(answer), "/generate": stock.sglang_generate(answer)}
    async with stock.StockServer(routes) as server:
        engine = engine_class(server.url)
        await engine.prepare(msgspec.structs.replace(ask(words), prompt_ids=()))
        await engine.aclose()
    asked = [body.get("prompt") or body.get("token_ids") for _, _, body in server.seen if body]
    assert all(asked)


class SilentClient:
    """Takes requests and answers none."""

    asked = 0

    def build_request(self, *_args, **_options):
        self.asked += 1

    async def send(self, *_args, **_options):
        await anyio.sleep_forever()


@pytest.mark.parametrize(("bound", "connect"), [(0.0, None), (1000.0, 1e-9)])
async def test_a_server_that_never_answers_holds_no_connection(words, ask, bound, connect):
    """It may be the only one, and the request waits for it as long as for a new one."""
    engine = CodecEngine("http://127.0.0.1:1", client=(client := SilentClient()))
    engine.health_seconds = bound
    timeouts = Timeouts(connect=connect, first_id=None)
    with anyio.fail_after(5):
        await engine.prepare(msgspec.structs.replace(ask(words), timeouts=timeouts))
        if not bound:
            assert not await engine.is_healthy(timeouts)
    assert client.asked == (1 if bound else 2)


async def test_a_failure_is_that_of_all_who_waited_and_the_next_one_asks_again(words, ask, stock, answer):
    released = threading.Event()
    routes = {
        "/tokenize": held(released, stock.refusing(503)),
        "/v1/completions": stock.vllm_completions(answer),
    }
    async with stock.StockServer(routes) as server:
        engine = VllmEngine(server.url, api="completions")
        for failure in await many(engine, ask(words), released):
            assert isinstance(failure, EngineStatusError)
            assert failure.transient
        assert server.paths() == ["/tokenize"]
        server.routes["/tokenize"] = stock.tokenize_route(pick_tokenizer(words))
        assert await many(engine, ask(words)) == [answer] * REQUESTS
    assert server.paths().count("/tokenize") == 3


async def test_each_vocabulary_is_compared(words, byte_level, ask, stock, answer):
    routes = {
        "/tokenize": stock.tokenize_route(pick_tokenizer(words)),
        "/v1/completions": stock.vllm_completions(answer),
    }
    async with stock.StockServer(routes) as server:
        engine = VllmEngine(server.url, api="completions")
        assert await many(engine, ask(words)) == [answer] * REQUESTS
        assert all(isinstance(each, MapMismatchError) for each in await many(engine, ask(byte_level)))
        # Made in memory, without a hash, and with one id.
        same, other = (
            vocabulary_of(msgspec.structs.replace(each.map, id="own")) for each in (words, byte_level)
        )
        assert await many(engine, ask(same)) == [answer] * REQUESTS
        assert all(isinstance(each, MapMismatchError) for each in await many(engine, ask(other)))


async def test_who_waits_keeps_to_its_own_time(words, ask, stock):
    released = threading.Event()
    async with stock.StockServer({"/tokenize": held(released, stock.refusing(503))}) as server:
        engine = VllmEngine(server.url)

        async def patient():
            with pytest.raises(EngineStatusError):
                async with engine.stream(ask(words)):
                    pass

        async with anyio.create_task_group() as group:
            group.start_soon(patient)
            await wait_all_tasks_blocked()
            with pytest.raises(EngineTimeoutError) as slow, anyio.fail_after(5):
                async with engine.stream(ask(words, timeouts=Timeouts(first_id=0.05))):
                    pass
            released.set()
        await engine.aclose()
    assert slow.value.phase == "first_id"
    assert server.paths() == ["/tokenize"]


async def test_a_server_without_binary_requests_meets_one_of_them(words, ask):
    from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app

    async with EmbeddedServer(
        create_app(ScriptedBackend.of(words, lambda _: "fine"), exchanges=RecordingExchanges())
    ) as server:
        server.app._generations.pop("/v1/completions/codec")
        engine = CodecEngine(server.url, requests="binary")
        expected = pick_tokenizer(words).encode_ordinary("fine")
        assert [ids[:-1] for ids in await many(engine, ask(words, temperature=0.0))] == [expected] * REQUESTS
        paths = [exchange.request.path for exchange in server.app.exchanges.generations]
    assert paths.count("/v1/completions/codec") == 1
    assert paths.count("/v1/completions") == REQUESTS


async def test_a_missing_model_is_not_a_missing_call(words, ask):
    """Both are a 404; a server that has taken binary requests is asked so again."""
    from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app

    async with EmbeddedServer(
        create_app(ScriptedBackend.of(words, lambda _: "fine", "m"), exchanges=RecordingExchanges())
    ) as server:
        engine = CodecEngine(server.url, requests="binary")
        for model in ("m", "other", "m"):
            await many(engine, ask(words, model=model, temperature=0.0))
        paths = [exchange.request.path for exchange in server.app.exchanges.generations]
    assert paths[-REQUESTS:] == ["/v1/completions/codec"] * REQUESTS


# --- SingleFlight ---


async def test_a_cancelled_asker_is_followed_by_one_who_waited():
    once, asked, answers = SingleFlight(), [], []

    async def ask():
        asked.append(1)
        if len(asked) == 1:
            await anyio.sleep_forever()
        return 7

    async def wait():
        answers.append(await once.get(ask))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as first:
                first.start_soon(once.get, ask)
                await wait_all_tasks_blocked()
                for _ in range(3):
                    group.start_soon(wait)
                await wait_all_tasks_blocked()
                scope.cancel()
    assert answers == [7, 7, 7]
    assert len(asked) == 2


async def test_event_loops_do_not_wait_for_each_other():
    once, entered, release = SingleFlight(), threading.Event(), threading.Event()

    async def slow():
        entered.set()
        await anyio.to_thread.run_sync(release.wait)
        return "slow"

    async def quick():
        return "quick"

    def in_thread():
        return anyio.run(once.get, slow)

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, in_thread)
        await anyio.to_thread.run_sync(entered.wait)
        assert await once.get(quick) == "quick"
        release.set()
