"""Prefill ahead: what is sent before the prompt is whole, that it helps, and that it can do no harm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines import measured
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.engines.scripted.prefix_cache import PrefixCache, PromptReading
from codec_agents.exceptions import EngineStatusError
from codec_agents.runtime.model import prefill
from codec_agents.runtime.result import RunResult
from codec_agents.server.embedded_engine import EmbeddedEngine
from codec_agents.testing import PromptView, Say, ScriptedEngine, ScriptedModel, Wait
from codec_core.frames import CodecFrame
from tests.agents.patient import Patient

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def words(count: int) -> str:
    """Return a text of about so many ids."""
    return " ".join(f"w{number % 97}" for number in range(round(count / 2.7)))


def speaker(text: str) -> ScriptedEngine:
    """Return a model that says a text in small frames, each when the others have done what they can."""
    return Patient(ScriptedModel(script=lambda _: Say(text), ids_a_frame=16))


def pipeline(
    a: Any, b: Any, *, stride: int | None = 32, b_map: str = "demo/words", **fields: Any
) -> Pipeline:
    """Return `a -> b`; without a stride, nothing is read ahead."""
    ahead = {} if stride is None else {"prefill": "ahead", "prefill_stride": stride, **fields}
    p = Pipeline("ahead").input("q").sink("out")
    p.model("a", engine=a, map="demo/bytes", prompt=Chat(user="{q}"), sampling={"max_tokens": 9999})
    p.model("b", engine=b, map=b_map, prompt=Chat(system="Read.", user="{draft}"))
    return p.connect("q", "a").connect("a", "b.draft", **ahead).connect("b", "out")


async def run(p: Pipeline) -> RunResult:
    return await p.invoke({"q": "go"})


class Wrapped:
    """An engine that does something else for the requests ahead."""

    provider = "scripted"
    name = "wrapped"
    closes_late = False

    def __init__(self, ahead: Callable[[GenerationRequest], Any]) -> None:
        self.inner = ScriptedEngine(lambda _: Say("read"))
        self.seen: list[GenerationRequest] = []
        self.left_open = 0
        self._ahead = ahead

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        if request.options.max_tokens == 1:
            self.seen.append(request)
            self.left_open += 1
            try:
                await self._ahead(request)
            finally:
                self.left_open -= 1
        async with self.inner.stream(request) as frames:
            yield frames

    async def aclose(self) -> None:
        await self.inner.aclose()


# --- what is sent ---


@BACKENDS
@pytest.mark.parametrize("b_map", ["demo/bytes", "demo/words"])
async def test_growing_beginnings_of_the_prompt_are_sent(b_map: str) -> None:
    b = ScriptedEngine(lambda _: Say("read"))
    result = await run(pipeline(speaker(words(250)), b, b_map=b_map))
    *ahead, last = b.requests
    assert len(ahead) >= 2
    prompt = list(last.prompt_ids)
    for request in ahead:
        assert request.options.max_tokens == 1
        assert prompt[: len(request.prompt_ids)] == list(request.prompt_ids)
    lengths = [len(request.prompt_ids) for request in ahead]
    assert all(later - earlier >= 32 for earlier, later in pairwise([0, *lengths]))
    assert result.usage["b"].prefill_requests == len(ahead)
    assert result.usage["b"].prefill_ids == sum(lengths)
    assert result.usage["b"].prompt_ids == len(prompt)
    assert 0 < result.handoffs[-1].prefilled_ids <= len(prompt)


async def test_it_is_off_unless_asked_for() -> None:
    b = ScriptedEngine(lambda _: Say("read"))
    result = await run(pipeline(speaker(words(600)), b, stride=None))
    assert len(b.requests) == 1
    assert result.usage["b"].prefill_requests == 0


def _say(pieces: list[Any], _: PromptView) -> list[Any]:
    return pieces


@pytest.mark.parametrize("seed", range(6))
async def test_every_request_ahead_is_a_beginning_whatever_the_order(seed: int) -> None:
    """Two slots and two edges into one of them: nothing behind what is still open is sent."""
    c = ScriptedEngine(lambda prompt: Say(f"[{prompt.user}]"))
    p = Pipeline("two").input("q").sink("out")
    for number, name in enumerate("xyz"):
        pause = Wait(0.004 * ((seed + number) % 3))
        said = [pause, Say(words(120)), pause, Say(words(90))]
        engine = ScriptedEngine(ScriptedModel(script=partial(_say, said), ids_a_frame=(1, 9), seed=seed))
        p.model(name, engine=engine, map="demo/bytes", prompt=Chat(user="{q}")).connect("q", name)
    p.model("c", engine=c, map="demo/words", prompt=Chat(user="1: {left} 2: {right}"))
    ahead = {"prefill": "ahead", "prefill_stride": 1}
    p.connect("x", "c.left", **ahead).connect("y", "c.left", separator=" and ")
    p.connect("z", "c.right", **ahead).connect("c", "out")
    await run(p)
    *sent, last = c.requests
    assert sent
    for request in sent:
        assert list(last.prompt_ids)[: len(request.prompt_ids)] == list(request.prompt_ids)


# --- that it helps ---


def reader(kind: type[Any], seconds: float) -> Any:
    """Return a model to which every prompt id costs time, and that remembers what it has read."""
    model = ScriptedModel(script=lambda _: Say("read"), seconds_a_prompt_id=seconds, prefix_cache=True)
    return kind(model)


class Telling(Wrapped):
    """An engine that tells when it has answered a request ahead."""

    def __init__(self, inner: Any) -> None:
        super().__init__(lambda _: anyio.lowlevel.checkpoint())
        self.inner = inner
        self.answered = anyio.Event()

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        async with super().stream(request) as frames:
            yield frames
        if request.options.max_tokens == 1:
            self.answered.set()


class Waiting(ScriptedEngine):
    """A model that goes on, from so many ids on, when something has happened."""

    def __init__(self, model: ScriptedModel, happened: anyio.Event, ids: int) -> None:
        super().__init__(model)
        self._happened = happened
        self._ids = ids

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        async with super().stream(request) as frames:
            yield _Held(frames, self._happened, self._ids)


class _Held:
    def __init__(self, frames: FrameStream, happened: anyio.Event, ids: int) -> None:
        self.stats = frames.stats
        self._frames, self._happened, self._left = frames, happened, ids

    async def __aiter__(self) -> AsyncIterator[CodecFrame]:
        async for frame in self._frames:
            if self._left <= 0:
                await self._happened.wait()
            self._left -= len(frame.ids)
            yield frame


@pytest.mark.parametrize("kind", [ScriptedEngine, EmbeddedEngine])
async def test_what_was_sent_ahead_is_found_in_the_cache(kind: type[Any]) -> None:
    """How much sooner the first id comes is measured by `python -m tests.benchmarks handoff`."""

    async def result(stride: int | None) -> RunResult:
        b = Telling(reader(kind, 0.01e-3))
        if stride is None:
            b.answered.set()
        a = Waiting(ScriptedModel(script=lambda _: Say(words(500)), ids_a_frame=8), b.answered, 200)
        with anyio.fail_after(30):
            found = await run(pipeline(a, b, stride=stride, b_map="demo/bytes"))
        await b.aclose()
        return found

    without, ahead = await result(None), await result(64)
    assert ahead.text == without.text
    assert ahead.ids == without.ids
    assert without.usage["b"].cached_ids == 0
    assert (ahead.usage["b"].cached_ids or 0) >= 64


# --- that it can do no harm ---


@BACKENDS
async def test_a_failure_ends_it_and_nothing_else_and_a_warning_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(_: GenerationRequest) -> None:
        raise EngineStatusError("wrapped", 503, "busy")

    b = Wrapped(refuse)
    result = await run(pipeline(speaker(words(600)), b))
    assert result.text == {"out": "read"}
    assert len(b.seen) == 1
    assert result.handoffs[-1].prefilled_ids == 0
    assert "no more prefill ahead" in caplog.text
    assert "503: busy" in caplog.text


@BACKENDS
async def test_a_request_under_way_is_closed_when_the_real_one_goes_out() -> None:
    async def hang(_: GenerationRequest) -> None:
        await anyio.sleep_forever()

    b = Wrapped(hang)
    with anyio.fail_after(10):
        result = await run(pipeline(speaker(words(600)), b))
    assert result.text == {"out": "read"}
    assert len(b.seen) == 1
    assert b.left_open == 0


class Answering(Patient):
    """A model that tells when it has said all it says."""

    def __init__(self, model: ScriptedModel) -> None:
        super().__init__(model)
        self.said = anyio.Event()

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        async with super().stream(request) as frames:
            yield frames
        self.said.set()


@BACKENDS
@pytest.mark.parametrize("fails", [False, True])
async def test_one_that_a_server_would_not_close_at_once_is_waited_for(fails: bool) -> None:
    """llama.cpp goes on with it for up to a second, and its cache is that of one place."""
    a = Answering(ScriptedModel(script=lambda _: Say(words(250)), ids_a_frame=16))

    async def answered_late(_: GenerationRequest) -> None:
        await a.said.wait()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        if fails:
            raise EngineStatusError("wrapped", 503, "busy")

    b = Wrapped(answered_late)
    b.closes_late = True
    with anyio.fail_after(10):
        result = await run(pipeline(a, b))
    assert result.text == {"out": "read"}
    [ahead] = b.seen
    assert result.handoffs[-1].prefilled_ids == (0 if fails else len(ahead.prompt_ids))


@pytest.mark.slow
async def test_the_number_of_requests_is_bounded() -> None:
    b = ScriptedEngine(lambda _: Say("read"))
    await run(pipeline(speaker(words(900)), b, stride=8))
    assert len(b.requests) == prefill.PREFILL_REQUESTS + 1


async def test_the_number_of_ids_is_bounded() -> None:
    b = ScriptedEngine(lambda _: Say("read"))
    result = await run(pipeline(speaker(words(900)), b, stride=8, prefill_budget=300))
    assert 0 < result.usage["b"].prefill_ids <= 300


async def test_requests_ahead_take_no_place_from_those_that_count() -> None:
    """Both nodes ask an engine that takes one request at a time: nothing waits, and nothing is held up."""
    said: list[PromptView] = []

    def script(prompt: PromptView) -> Any:
        said.append(prompt)
        return Say(words(600) if len(said) == 1 else "read")

    engine = ScriptedEngine(ScriptedModel(script=script, ids_a_frame=16, ids_a_second=20_000))
    p = Pipeline("one").input("q").sink("out")
    for name in "ab":
        p.model(name, engine=engine, map="demo/bytes", prompt=Chat(user="{text}"), policy={"concurrency": 1})
    p.connect("q", "a").connect("a", "b", prefill="ahead", prefill_stride=16).connect("b", "out")
    with anyio.fail_after(10):
        result = await run(p)
    assert result.text == {"out": "read"}
    assert result.usage["b"].prefill_requests <= 1  # there is a place when A has ended


# --- the model of a prefix cache ---


def test_a_prefix_cache_finds_the_longest_common_beginning() -> None:
    cache = PrefixCache()
    assert cache.find("m", [1, 2, 3]) == 0
    cache.keep("m", [1, 2, 3, 4])
    cache.keep("m", [1, 2, 9])
    assert cache.find("m", [1, 2, 3, 7, 8]) == 3
    assert cache.find("m", [1, 2, 9, 9]) == 3
    assert cache.find("m", [5, 1, 2]) == 0
    assert cache.find("other", [1, 2, 3, 4, 5]) == 0


def test_the_last_id_of_a_prompt_is_always_read() -> None:
    cache = PrefixCache()
    cache.keep("m", [1, 2, 3])
    assert cache.find("m", [1, 2, 3]) == 2


async def test_what_was_read_before_a_break_stays() -> None:
    cache = PrefixCache()
    with anyio.move_on_after(0.2):
        await PromptReading(range(5000), 0.001, cache).finish()
    assert 10 < cache.find(None, range(5000)) < 4500


# --- `prefill: auto` ---


class Reporting(ScriptedEngine):
    """Reports so many cached ids of each request that counts, and so long a queue."""

    def __init__(self, cached: Callable[[int], int | None], *, queue: float | None = None) -> None:
        super().__init__(lambda _: Say("read"))
        self._cached = cached
        self._queue = queue

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        async with super().stream(request) as frames:
            if request.options.max_tokens > 1:
                frames.stats.cached_tokens = self._cached(len(request.prompt_ids))
                frames.stats.engine_queue = self._queue
            yield frames


def automatic(b: Any) -> Pipeline:
    return pipeline(speaker(words(600)), b, stride=128, prefill="auto")


async def sent_in(p: Pipeline, runs: int) -> list[int]:
    """Return the number of requests ahead in each of some runs."""
    return [(await run(p)).usage["b"].prefill_requests for _ in range(runs)]


async def test_what_is_sent_ends_where_a_block_does() -> None:
    b = Reporting(lambda ids: ids)
    result = await run(automatic(b))
    *ahead, _ = b.requests
    assert ahead
    assert all(len(request.prompt_ids) % prefill.BLOCK == 0 for request in ahead)
    assert result.handoffs[-1].prefilled_ids % prefill.BLOCK == 0
    assert result.handoffs[-1].cached_ids == result.usage["b"].prompt_ids


@pytest.mark.slow
async def test_it_goes_on_while_the_cached_ids_show_a_gain() -> None:
    assert 0 not in await sent_in(automatic(Reporting(lambda ids: ids - 5)), 5)


@pytest.mark.slow
@pytest.mark.parametrize("cached", [0, None])
async def test_it_stops_where_they_show_none_and_is_tried_again(cached: int | None) -> None:
    rounds = [False] * (measured.TRIED_AGAIN - 1) + [True]
    sent = await sent_in(automatic(Reporting(lambda _: cached)), 2 + 2 * len(rounds))
    assert [number > 0 for number in sent] == [True] * 2 + rounds * 2


@pytest.mark.slow
async def test_the_items_of_a_map_are_measured_together() -> None:
    body = automatic(Reporting(lambda _: 0))
    p = Pipeline("items").input("list").sink("all").map("each", body, parallel=1, separator="\n")
    result = await p.connect("list", "each.q").connect("each.out", "all").invoke({"list": "a\nb\nc\nd"})
    sent = [result.usage[f"each[{number}]/b"].prefill_requests > 0 for number in range(4)]
    assert sent == [True] * measured.MISSES + [False] * 2


async def test_an_engine_that_queues_gets_no_work_ahead() -> None:
    sent = await sent_in(automatic(Reporting(lambda ids: ids, queue=measured.QUEUED)), 3)
    assert sent[0] > 0
    assert sent[1:] == [0, 0]


async def test_an_engine_with_many_requests_in_flight_gets_no_work_ahead() -> None:
    p = automatic(Reporting(lambda ids: ids))
    node = p.build().nodes["b"]
    node.measured.running = measured.ROOM  # type: ignore[attr-defined]
    assert await sent_in(p, 1) == [0]


@pytest.mark.parametrize("seed", range(4))
async def test_results_are_the_same_ids_with_and_without(seed: int) -> None:
    """Whatever the engine reports, and however the source is cut."""

    def said(stride: int | None) -> Pipeline:
        model = ScriptedModel(script=lambda _: Say(words(500)), ids_a_frame=(1, 40), seed=seed)
        b = Reporting(lambda ids: (ids * seed) // 3)
        return pipeline(ScriptedEngine(model), b, stride=stride, **({"prefill": "auto"} if stride else {}))

    assert (await run(said(128))).ids == (await run(said(None))).ids
