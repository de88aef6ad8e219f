"""Graphs that nobody thought of: nothing but the declaration decides what comes out.

Neither cuts nor pauses nor failures that pass change it; a replay gives it, and so does a recovery from
wherever a run was cut or left. A run that is left leaves nothing behind but a prefix.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio
import trio

from codec_agents import Pipeline
from codec_agents.exceptions import ApprovalRequiredError, RunError
from codec_agents.runtime.result import RunResult
from codec_agents.runtime.run import Run
from tests.agents.drawn_graphs import Drawing

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

GRAPHS = [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(60) if number != 1)]
INPUTS = {"q": "alpha beta gamma"}


def drawn(number: int, timing: int) -> tuple[Pipeline, Drawing]:
    drawing = Drawing(number, random.Random(timing))
    return drawing.graph(), drawing


def outcome(result: RunResult) -> Any:
    """Return what must be the same; whether a node that nobody listens to has ended by then is chance."""
    ends = {"finished": "ended", "cancelled": "ended"}
    return result.text, result.ids, {node: ends.get(end, end) for node, end in result.outcomes.items()}


@pytest.mark.parametrize("number", GRAPHS)
async def test_a_random_graph_gives_the_same_however_it_runs(number: int, tmp_path: Path) -> None:
    record, draw = tmp_path / "run.jsonl", random.Random(number)
    with anyio.fail_after(60):
        first = await drawn(number, 0)[0].invoke(INPUTS, record=record)
        second = await drawn(number, 1)[0].invoke(INPUTS)
        replayed = await drawn(number, 2)[0].replay(record).execute()
        recovered = await drawn(number, 3)[0].recover(record).execute()
        lines = record.read_bytes().splitlines(keepends=True)
        record.write_bytes(b"".join(lines[: draw.randint(1, len(lines))]))
        gone_on = await drawn(number, 4)[0].recover(record).execute()
    assert any(first.text.values()) or any(first.ids.values())
    for other in (second, replayed, recovered, gone_on):
        assert outcome(other) == outcome(first)


@pytest.mark.parametrize("number", GRAPHS)
@pytest.mark.slow
async def test_leaving_a_random_graph_leaves_nothing_but_a_prefix(number: int, tmp_path: Path) -> None:
    record, draw, before = tmp_path / "run.jsonl", random.Random(number), tasks()
    began = time.perf_counter()
    whole = await drawn(number, 0)[0].invoke(INPUTS)
    took = time.perf_counter() - began
    for how in ("cancel", "leave", "cancelled from outside", "error"):
        pipeline, drawing = drawn(number, draw.randrange(1000))
        run = pipeline.run(INPUTS, record=record)
        with anyio.fail_after(30), suppress(ZeroDivisionError):
            await leave(run, how, after=draw.random() * took)
        assert [engine.open_streams for engine in drawing.engines] == [0] * len(drawing.engines)
        assert tasks() == before
        for sink, ids in run.partial_result().ids.items():
            assert ids == whole.ids[sink][: len(ids)]
        recovered = await drawn(number, draw.randrange(1000))[0].recover(record).execute()
        assert outcome(recovered) == outcome(whole)


@pytest.mark.parametrize("number", GRAPHS)
async def test_a_random_graph_that_is_put_down_and_taken_up_gives_the_same(number: int) -> None:
    def asking(timing: int) -> Pipeline:
        return Drawing(number, random.Random(timing), asks=True).graph(depth=0)

    with anyio.fail_after(60):
        whole = await asking(0).run(INPUTS, approve=lambda *_: True).execute()
        run, timing = asking(1).run(INPUTS), 1
        while True:
            try:
                result = await run.execute()
                break
            except ApprovalRequiredError as error:
                timing += 1
                pause = error.pause
                run = asking(timing).resume(pause.to_json(), [True] * len(pause.pending))
    assert outcome(result) == outcome(whole)


async def leave(run: Run, how: str, *, after: float) -> None:
    """Let a run go on for so many seconds, and leave it."""
    with anyio.CancelScope() as outside:
        async with run:
            with anyio.move_on_after(after), suppress(RunError):
                await run.wait()
            match how:
                case "cancel":
                    run.cancel()
                case "error":
                    raise ZeroDivisionError
                case "cancelled from outside":
                    outside.cancel()
                    await anyio.sleep_forever()


def tasks() -> int:
    """Return how many tasks there are."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())
