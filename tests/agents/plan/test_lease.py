"""Engines that a pipeline made stay open as long as somebody uses them."""

from __future__ import annotations

import pytest

from codec_agents import Pipeline
from codec_agents.engines.pool import EnginePool
from codec_agents.plan.lease import EngineLease
from codec_agents.server.embedded_engine import EmbeddedEngine
from codec_agents.testing import ScriptedEngine, turns

pytestmark = pytest.mark.asyncio


def declared() -> Pipeline:
    return Pipeline.from_yaml(
        """\
pipeline: leased
engines: {desk: {kind: embedded, script: "hello"}}
nodes: {a: {engine: desk, map: demo/bytes, prompt: "{q}"}}
edges: [question -> a.q, a.answer -> reader]
"""
    )


def engine_of(p: Pipeline) -> EmbeddedEngine:
    engine = p.build().engines["desk"]
    assert isinstance(engine, EmbeddedEngine)
    return engine


async def test_engines_close_behind_a_run_and_open_again() -> None:
    p = declared()
    for _ in range(2):
        assert (await p.invoke({"question": "hi"})).text["reader"] == "hello"
        assert engine_of(p).app is None


async def test_an_opened_pipeline_keeps_its_engines_from_run_to_run() -> None:
    p = declared()
    async with p.opened():
        await p.invoke({"question": "hi"})
        app = engine_of(p).app
        await p.invoke({"question": "hi"})
        assert app is not None
        assert engine_of(p).app is app
    assert engine_of(p).app is None


async def test_one_engine_that_cannot_be_closed_leaves_no_other_open() -> None:
    class Stuck(ScriptedEngine):
        closings = 0

        async def aclose(self) -> None:
            Stuck.closings += 1
            raise OSError("it is stuck")

    made = [Stuck(turns("x"), name=name) for name in ("first", "second")]
    for several in (EnginePool(made, name="p").aclose, EngineLease({each.name: each for each in made}).close):
        Stuck.closings = 0
        with pytest.raises(OSError, match="stuck"):
            await several()
        assert Stuck.closings == 2


async def test_a_run_that_is_left_closes_its_engines_too() -> None:
    p = declared()
    async with p.run({"question": "hi"}) as run:
        await anext(run.text("reader"))
    assert engine_of(p).app is None
