"""Parallel branches over one long beginning: one reads it, the others wait for its first id and find it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.exceptions import EngineStatusError
from codec_agents.runtime.model.shared_prefix import SHARED
from codec_agents.testing import ScriptedEngine

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

DOCUMENT = "a" * SHARED
BRANCHES = 4


class Watched(ScriptedEngine):
    """The first request waits until all tasks wait; `alone` is whether no other one had begun by then."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__(lambda prompt: f"read {prompt.user[-1]}")
        self.begun: list[int] = []
        self.alone = False
        self._fails = fails

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        self.begun.append(len(self.begun))
        if len(self.begun) == 1:
            await anyio.wait_all_tasks_blocked()
            if self._fails:
                raise EngineStatusError(self.name, 400, "no")
            self.alone = len(self.begun) == 1
        async with super().stream(request) as frames:
            yield frames


def fan_out(engine: Any, document: str, **policy: Any) -> Pipeline:
    p = Pipeline("fan").input("document").sink("out")
    p.join("all")
    for number in range(BRANCHES):
        p.model(f"m{number}", engine=engine, map="demo/bytes", prompt=f"{{document}} {number}", policy=policy)
        p.connect("document", f"m{number}.document").connect(f"m{number}.answer", "all", separator=" ")
    return p.connect("all", "out")


ANSWER = "read 0 read 1 read 2 read 3"


async def test_the_others_wait_until_one_has_read_the_beginning() -> None:
    engine = Watched()
    result = await fan_out(engine, DOCUMENT).invoke({"document": DOCUMENT})
    assert result.text["out"] == ANSWER
    assert engine.alone
    assert len(engine.begun) == BRANCHES


async def test_a_short_beginning_is_not_waited_for() -> None:
    engine = Watched()
    await fan_out(engine, "short").invoke({"document": "short"})
    assert not engine.alone


async def test_a_beginning_that_was_read_before_is_not_waited_for() -> None:
    engine = Watched()
    p = fan_out(engine, DOCUMENT)
    await p.invoke({"document": DOCUMENT})
    engine.begun.clear()
    await p.invoke({"document": DOCUMENT})
    assert not engine.alone


async def test_a_leader_that_fails_lets_the_others_go() -> None:
    engine = Watched(fails=True)
    result = await fan_out(engine, DOCUMENT, on_failure="skip").invoke({"document": DOCUMENT})
    assert result.text["out"].count("read") == BRANCHES - 1


async def test_a_record_is_replayed_without_waiting(tmp_path: Path) -> None:
    p = fan_out(Watched(), DOCUMENT)
    first = await p.invoke({"document": DOCUMENT}, record=tmp_path / "run.jsonl")
    assert (await p.replay(tmp_path / "run.jsonl").execute()).ids == first.ids
