"""Prefill ahead where nothing declares it: which engines are sent beginnings of prompts, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines import measured
from codec_agents.runtime.model.prefill import BLOCK
from codec_agents.testing import Say, ScriptedEngine
from tests.agents.runtime.model.test_prefill import Reporting, pipeline, sent_in, speaker, words

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
    p.build().nodes["b"].measured.running = measured.IDLE  # type: ignore[attr-defined]
    assert await sent_in(p, 1) == [0]


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
