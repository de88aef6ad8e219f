"""Prefill ahead where nothing declares it: which engines are sent beginnings of prompts, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines import measured
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.exceptions import ApprovalRequiredError, NodeFailedError
from codec_agents.runtime.model.prefill import BLOCK
from codec_agents.runtime.model.prompt import IncrementalPrompt
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, ScriptedModel
from codec_agents.tools.tool import tool
from codec_core.frames import CodecFrame
from tests.agents.patient import Patient
from tests.agents.runtime.model.test_prefill import (
    Reporting,
    Waiting,
    pipeline,
    run,
    sent_in,
    speaker,
    words,
)

pytestmark = pytest.mark.anyio


class Keeping(Reporting):
    """An engine that keeps what it has read, and perhaps promises to tell what it found."""

    caches_prompts = True

    def __init__(self, cached: Callable[[int], int | None] = lambda ids: ids, *, promised: bool = False):
        super().__init__(cached)
        self.reports_cached_ids = promised


def chain(b: Any, **edge: Any) -> Pipeline:
    return pipeline(speaker(words(400)), b, stride=128 if edge else None, **edge)


async def test_a_prompt_is_sent_ahead_once_an_answer_has_told_cached_ids() -> None:
    b = Keeping()
    p = chain(b)
    first, second = await sent_in(p, 2)
    assert (first, second > 0) == (0, True)
    _, *ahead, _ = b.requests
    assert len(ahead) == second
    assert all(len(request.prompt_ids) % BLOCK == 0 for request in ahead)
    assert "prefilled ahead where the engine is idle and its cached ids show a gain" in str(p.explain())


@pytest.mark.parametrize(
    ("b", "sends"),
    [
        pytest.param(Keeping(promised=True), True, id="one that always tells"),
        pytest.param(Keeping(lambda _: None), False, id="one that tells nothing"),
        pytest.param(Reporting(lambda ids: ids), False, id="one that is not known to keep prompts"),
    ],
)
async def test_the_engine_decides(b: Any, sends: bool) -> None:
    assert [number > 0 for number in await sent_in(chain(b), 2)] == [sends, sends]


async def test_it_stops_where_cached_ids_show_no_gain() -> None:
    sent = await sent_in(chain(Keeping(lambda _: 0, promised=True)), measured.MISSES + 1)
    assert [number > 0 for number in sent] == [True] * measured.MISSES + [False]


async def test_only_an_idle_engine_gets_work_ahead() -> None:
    p = chain(Keeping(promised=True))
    with p.build().nodes["b"].measured.node_asks():  # type: ignore[attr-defined]
        assert await sent_in(p, 1) == [0]


async def test_where_nothing_can_be_sent_no_prompt_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy at each batch would take time that grows with the square of the prompt's length."""
    copied: list[object] = []
    monkeypatch.setattr(IncrementalPrompt, "so_far", lambda *given: copied.append(given) or [])
    p = chain(Keeping(promised=True))
    with p.build().nodes["b"].measured.node_asks():  # type: ignore[attr-defined]
        await run(p)
    assert len(copied) <= 1, "only to prepare the engine"


class Hanging(Keeping):
    """An engine that reads beginnings without end, and tells when it has begun one."""

    def __init__(self) -> None:
        super().__init__(promised=True)
        self.reads = anyio.Event()

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        if not request.turn:
            self.reads.set()
            await anyio.sleep_forever()
        async with super().stream(request) as frames:
            yield frames


async def test_a_request_that_counts_takes_the_place_of_one_ahead() -> None:
    """Of another run: in the same one, nothing is sent ahead while another node could ask."""
    b, goes_on = Hanging(), anyio.Event()

    def script(prompt: PromptView) -> Say:
        return Say(words(400) if prompt.user == "go" else "short")

    a = Waiting(ScriptedModel(script=script, ids_a_frame=16), goes_on, 320)
    p = Pipeline("ahead").input("q").sink("out").engine("kept", b, concurrency=1)
    p.model("a", engine=a, map="demo/bytes", prompt=Chat(user="{q}"), sampling={"max_tokens": 9999})
    p.model("b", engine="kept", map="demo/words", prompt=Chat(user="{draft}"))
    p.connect("q", "a").connect("a", "b.draft").connect("b", "out")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(run, p)
            await b.reads.wait()
            assert (await p.invoke({"q": "other"})).text == {"out": "read"}
            goes_on.set()


async def test_a_model_that_shares_its_engine_with_the_one_it_reads_is_sent_nothing() -> None:
    """The engine would compute both in one batch, which rounds otherwise."""

    class Both(Keeping):
        def __init__(self) -> None:
            super().__init__(promised=True)
            self.model = speaker(words(400)).model

    assert await sent_in(pipeline(engine := Both(), engine, stride=None, b_map="demo/bytes"), 1) == [0]


async def test_an_edge_or_an_engine_can_switch_it_off_and_an_engine_on() -> None:
    b = Keeping(promised=True)
    assert await sent_in(chain(b, prefill="off"), 1) == [0]
    for mode, sends in (("off", False), ("auto", True)):
        p = Pipeline("ahead").input("q").sink("out").engine("kept", b, prefill=mode)
        p.model("a", engine=speaker(words(400)), map="demo/bytes", prompt=Chat(user="{q}"))
        p.model("b", engine="kept", map="demo/words", prompt=Chat(user="{draft}"))
        p.connect("q", "a").connect("a", "b.draft").connect("b", "out")
        assert [number > 0 for number in await sent_in(p, 1)] == [sends], mode


async def test_an_engine_that_a_router_may_not_choose_sees_nothing_before() -> None:
    b = Keeping(promised=True)
    p = Pipeline("routed").input("q").sink("out")
    p.model("a", engine=speaker(words(400)), map="demo/bytes", prompt=Chat(user="{q}"))
    p.model("b", engine=b, map="demo/words", prompt=Chat(user="{draft}"))
    p.function("other", lambda value: value, map="demo/words")
    chooser = ScriptedEngine(lambda _: Say("no"))
    p.router("way", engine=chooser, map="demo/words", prompt="{q}", labels={"yes": "b", "no": "other"})
    p.connect("q", "a").connect("q", "way.q").connect("a", "b.draft").connect("q", "other.value")
    p.connect("b", "out").connect("other", "out")
    await p.invoke({"q": "go"})
    assert not b.requests


async def test_a_node_behind_one_that_a_router_does_not_choose_sees_nothing() -> None:
    b = Keeping(promised=True)
    p = Pipeline("routed").input("q").input("doc").sink("out")
    p.model("w", engine=speaker("hi"), map="demo/words", prompt=Chat(user="{q}"))
    p.function("other", lambda value: value, map="demo/words")
    chooser = ScriptedEngine(lambda _: Say("no"))
    p.router("way", engine=chooser, map="demo/words", prompt="{q}", labels={"yes": "w", "no": "other"})
    p.model("b", engine=b, map="demo/words", prompt=Chat(user="{doc} {draft}"))
    p.connect("q", "w").connect("q", "way.q").connect("q", "other.value")
    p.connect("doc", "b.doc").connect("w", "b.draft").connect("b", "out").connect("other", "out")
    await p.invoke({"q": "go", "doc": words(900)})
    assert not b.requests


@pytest.mark.parametrize("beside", [True, False], ids=["beside it", "in its prompt"])
async def test_an_engine_sees_nothing_that_a_function_has_not_let_through(beside: bool) -> None:
    """The function raises while the answer that the prompt waits for is being written."""
    b, written = Keeping(promised=True), anyio.Event()

    class Writing(Patient):
        @asynccontextmanager
        async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
            async with super().stream(request) as frames:
                yield _Telling(frames, written, 320)

    async def guard(value: str) -> str:
        await written.wait()
        raise ValueError("personal data")

    writer = Writing(ScriptedModel(script=lambda _: Say(words(400)), ids_a_frame=16))
    p = Pipeline("guarded").input("q").sink("out")
    p.model("a", engine=writer, map="demo/bytes", prompt=Chat(user="{q}"), sampling={"max_tokens": 9999})
    p.function("guard", guard, map="demo/words")
    p.model("b", engine=b, map="demo/words", prompt=Chat(user="{draft}" if beside else "{draft}{ok}"))
    p.connect("q", "a").connect("q", "guard.value").connect("a", "b.draft").connect("b", "out")
    p.sink("checked").connect("guard", "checked") if beside else p.connect("guard", "b.ok")
    with pytest.raises(NodeFailedError, match="personal data"):
        await p.invoke({"q": "go"})
    assert not b.requests


class _Telling:
    """Frames that tell when so many ids have come."""

    def __init__(self, frames: FrameStream, told: anyio.Event, ids: int) -> None:
        self.stats = frames.stats
        self._frames, self._told, self._left = frames, told, ids

    async def __aiter__(self) -> AsyncIterator[CodecFrame]:
        async for frame in self._frames:
            yield frame
            self._left -= len(frame.ids)
            if self._left <= 0:
                self._told.set()


async def test_an_engine_sees_nothing_while_a_source_waits_for_a_decision() -> None:
    """It may never come."""

    @tool(approval=True)
    def pay(amount: int) -> str:
        """Pay an amount."""
        return str(amount)

    b = Keeping(promised=True)
    p = Pipeline("paused").input("q").sink("out")
    asks = ScriptedEngine(lambda _: [Say("Paying. "), Call("pay", amount=1)])
    p.model("agent", engine=asks, map="demo/bytes", prompt=Chat(user="{q}"), tools=[pay])
    p.model("a", engine=speaker(words(400)), map="demo/bytes", prompt=Chat(user="{q}"))
    p.model("b", engine=b, map="demo/words", prompt=Chat(user="{draft}{paid}"))
    p.connect("q", "a").connect("q", "agent").connect("a", "b.draft").connect("agent", "b.paid")
    with pytest.raises(ApprovalRequiredError):
        await p.connect("b", "out").invoke({"q": "go"})
    assert not b.requests
