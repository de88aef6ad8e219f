"""A handoff: its parts add up, the next engine is ready for it, and translation does not wait for the end."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.runtime.model.preparation import PREPARED_FOR, prepare_engines
from codec_agents.runtime.result import RunResult
from codec_agents.runtime.run import Run
from codec_agents.testing import (
    EmbeddedEngine,
    Refuse,
    Say,
    ScriptedEngine,
    ScriptedModel,
    Wait,
    scripted_server,
)
from codec_agents.vocabularies import bundled_map
from tests.agents.patient import Continuing, Patient

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

DRAFT = "A flight from Lisbon to Oslo, and what to pack for it. " * 8


def slow(text: str = DRAFT) -> ScriptedEngine:
    """Return a model that speaks for a while, and goes on when the others have done what they can."""
    return Patient(ScriptedModel(script=lambda _: [Say(text), Wait(0.05)], ids_a_frame=8))


def two(a: Any, b: Any) -> Pipeline:
    p, limit = Pipeline("two").input("q").sink("out"), {"max_tokens": 1000}
    p.model("a", engine=a, map="demo/bytes", prompt=Chat(user="{q}"), sampling=limit)
    p.model("b", engine=b, map="demo/words", prompt=Chat(user="{draft}"), sampling=limit)
    return p.connect("q", "a").connect("a", "b.draft").connect("b", "out")


async def run(p: Pipeline) -> RunResult:
    return await p.invoke({"q": "go"})


# --- the parts ---


@BACKENDS
@pytest.mark.parametrize("kind", [ScriptedEngine, EmbeddedEngine])
async def test_the_parts_of_a_handoff_add_up(kind: type[Any]) -> None:
    b = kind(lambda _: Say("read"))
    result = await run(two(slow(), b))
    await b.aclose()
    for report in result.handoffs:
        parts = report.parts
        assert list(parts) == ["detect", "translate", "wait", "render", "queue", "request", "engine"]
        assert sum(parts.values()) == pytest.approx(report.first_id_latency, abs=1e-9)
        assert sum(parts.values()) - parts["engine"] == pytest.approx(report.gap, abs=1e-9)
        assert all(seconds >= 0 for seconds in parts.values())


def _say(pieces: list[Any], _: Any) -> list[Any]:
    return pieces


@pytest.mark.parametrize("seed", range(12))
async def test_the_parts_add_up_whatever_a_run_does(seed: int) -> None:
    """Any vocabularies, frames, delays, places, prompts read ahead: no time is lost or told twice."""
    draw = random.Random(seed)
    made: list[Any] = []

    def engine(text: str) -> Any:
        pauses = [Wait(draw.choice([0.0, 0.001, 0.004])) for _ in range(2)]
        model = ScriptedModel(
            script=partial(_say, [pauses[0], Say(text), pauses[1], Say(text)]),
            ids_a_frame=(1, draw.randint(1, 20)),
            seed=seed,
            first_id_after=draw.choice([0.0, 0.003]),
        )
        made.append(draw.choice([ScriptedEngine, EmbeddedEngine])(model))
        return made[-1]

    p = Pipeline("any").input("q").sink("out").sink("other")
    words = "word " * draw.randint(1, 200)
    for name in "abc":
        fields: dict[str, Any] = {"map": draw.choice(["demo/bytes", "demo/words"])}
        if draw.random() < 0.5:
            fields["policy"] = {"concurrency": 1}
        prompt = {"a": "{q}", "b": "read {draft}", "c": "{x} and {y}"}[name]
        p.model(name, engine=engine(words), prompt=Chat(user=prompt), **fields)
    ahead = {"prefill": "ahead", "prefill_stride": 16} if draw.random() < 0.5 else {}
    p.connect("q", "a").connect("a", "b.draft", **ahead).connect("a", "c.x").connect("b", "c.y")
    result = await run(p.connect("b", "other").connect("c", "out"))
    for each in made:
        await each.aclose()
    assert len(result.handoffs) == 4
    for report in result.handoffs:
        parts = report.parts
        assert sum(parts.values()) == pytest.approx(report.first_id_latency, abs=1e-9)
        assert sum(parts.values()) - parts["engine"] == pytest.approx(report.gap, abs=1e-9)
        assert min(parts.values()) >= 0, parts


async def test_a_handoff_begins_with_the_sources_last_id() -> None:
    result = await run(two(slow(), ScriptedEngine(lambda _: Say("read"))))
    first, second = result.handoffs
    assert first.last_id is None
    assert first.parts["detect"] == 0
    assert second.last_id is not None
    assert second.last_in is not None
    assert second.last_id <= second.last_in


async def test_an_input_that_comes_early_waits_for_the_others() -> None:
    p = two(slow(), ScriptedEngine(lambda _: Say("read")))
    p.model("c", engine=ScriptedEngine(lambda _: Say("c")), map="demo/words", prompt=Chat(user="{x} {y}"))
    p.connect("q", "c.x").connect("a", "c.y").sink("other").connect("c", "other")
    reports = {report.target: report for report in (await run(p)).handoffs}
    assert reports["c.x"].parts["wait"] > 0.04
    assert reports["c.y"].parts["wait"] < reports["c.x"].parts["wait"]


async def test_queueing_for_a_place_is_a_part_of_its_own() -> None:
    """Two readers of one source, and an engine that takes one request at a time."""
    reading = ScriptedEngine(ScriptedModel(script=lambda _: Say("read"), first_id_after=0.05))
    p = Pipeline("two readers").input("q").sink("out")
    p.model("a", engine=slow(), map="demo/bytes", prompt=Chat(user="{q}")).connect("q", "a")
    for name in "bc":
        fields: dict[str, Any] = {
            "map": "demo/words",
            "prompt": Chat(user="{draft}"),
            "policy": {"concurrency": 1},
        }
        p.model(name, engine=reading, **fields).connect("a", name)
    p.connect("b", "out").connect("c", "out")
    queued = sorted(r.queue_seconds for r in (await run(p)).handoffs if r.source == "a.answer")
    assert queued[0] < queued[1]
    assert queued[1] > 0.04


# --- the engine is ready ---


class Noting:
    """An engine that notes when it is prepared, and how."""

    provider = "scripted"
    name = "noting"

    def __init__(self, *, fails: bool = False, hangs: bool = False) -> None:
        self.inner = ScriptedEngine(lambda _: Say("read"))
        self.seen: list[str] = []
        self.under_way = 0
        self._fails, self._hangs = fails, hangs

    async def prepare(self, request: GenerationRequest) -> None:
        self.seen.append(f"prepare {request.vocabulary.id}")
        self.under_way += 1
        try:
            if self._fails:
                raise RuntimeError("nobody is told")
            if self._hangs:
                await anyio.sleep_forever()
        finally:
            self.under_way -= 1

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        self.seen.append("stream")
        async with self.inner.stream(request) as frames:
            yield frames

    async def aclose(self) -> None:
        await self.inner.aclose()


@BACKENDS
@pytest.mark.parametrize("fields", [{}, {"fails": True}, {"hangs": True}])
async def test_the_next_engine_is_prepared_while_the_source_streams(fields: dict[str, bool]) -> None:
    b = Noting(**fields)
    with anyio.fail_after(10):
        result = await run(two(slow(), b))
    assert result.text == {"out": "read"}
    assert b.seen == ["prepare demo/words", "stream"]
    assert b.under_way == 0


def test_it_is_prepared_again_while_the_source_goes_on() -> None:
    """On a clock that jumps to the next instant at which anything is due."""
    b = Noting()
    source = ScriptedEngine(lambda _: [Say(DRAFT), Wait(2.5 * PREPARED_FOR)])
    trio.run(run, two(source, b), clock=MockClock(autojump_threshold=0))
    assert b.seen == ["prepare demo/words"] * 3 + ["stream"]


async def test_preparing_ends_with_a_node_that_fails() -> None:
    b = Noting(hangs=True)
    p = two(ScriptedEngine(lambda _: [Refuse(400)]), b)
    with anyio.fail_after(10), pytest.raises(Exception, match="400"):
        await run(p)
    assert b.under_way == 0


SPEAKER = ScriptedModel(script=lambda _: Say(DRAFT), ids_a_frame=8)


class Preparing(CodecEngine):
    """Tells when its preparation is over."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.prepared = anyio.Event()

    async def prepare(self, request: GenerationRequest) -> None:
        await super().prepare(request)
        self.prepared.set()


@BACKENDS
async def test_the_request_finds_an_open_connection(anyio_backend_name: str) -> None:
    """Under asyncio it is that of the request itself, which was begun ahead; elsewhere one opened for it."""
    with scripted_server(bundled_map("demo/words"), lambda _: Say("read"), name="m") as server:
        b = Preparing(server.url)
        p = two(Continuing(SPEAKER, b.prepared), b)
        await run(p)
        assert server.accepted == 1
        opened = [] if anyio_backend_name == "asyncio" else ["GET"]
        assert [each.request.method for each in server.app.exchanges.recent] == [*opened, "POST"]
        await b.aclose()


async def test_a_server_that_is_not_there_is_told_by_the_request_alone() -> None:
    b = CodecEngine("http://127.0.0.1:9", name="nowhere")
    p = two(slow("short"), b)
    with pytest.raises(Exception, match="nowhere"):
        await run(p)
    await b.aclose()


@BACKENDS
async def test_engines_can_be_prepared_before_a_run() -> None:
    b = EmbeddedEngine(lambda _: Say("read"))
    p = two(slow(), b)
    await prepare_engines(p.build(), within=5)
    assert b.app is not None
    assert b.app.exchanges.generations == []
    await b.aclose()


async def test_engines_of_models_inside_a_map_are_prepared_too() -> None:
    prepared = []

    class Noted(ScriptedEngine):
        async def prepare(self, request: GenerationRequest) -> None:
            prepared.append(request.node)

    body = Pipeline("body").input("item").sink("said", text=False)
    body.model("m", engine=Noted(lambda _: "x"), map="demo/bytes", prompt="{text}")
    p = Pipeline("mapped").input("q").sink("out").map("each", body.connect("item", "m").connect("m", "said"))
    await prepare_engines(p.connect("q", "each").connect("each", "out").build(), within=5)
    assert prepared == ["each/m"]


# --- the request is written ---


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
async def test_a_request_counts_as_sent_when_its_body_is_written(transport: str) -> None:
    """The server answers later; the time until then is not that of the request."""
    asked, let_go, answered = anyio.Event(), threading.Event(), list[float]()
    loop = asyncio.get_running_loop()

    def script(_: Any) -> Any:
        loop.call_soon_threadsafe(asked.set)  # the server, in a thread of its own, sends no head meanwhile
        assert let_go.wait(10)
        return Say("read")

    async def answer_when_all_wait(going: Run) -> None:
        await asked.wait()
        await anyio.wait_all_tasks_blocked()
        answered.append(going.seconds)
        let_go.set()

    with scripted_server(bundled_map("demo/words"), script) as server:
        b = CodecEngine(server.url, settings=HttpSettings(transport=transport))
        async with two(slow("short"), b).run({"q": "go"}) as going, anyio.create_task_group() as group:
            group.start_soon(answer_when_all_wait, going)
            report = (await going.wait()).handoffs[-1]
        await b.aclose()
    assert report.request_sent is not None
    assert report.first_out is not None
    assert report.request_sent <= answered[0] <= report.first_out
