"""Figures that an engine reports and that can be none: the answer is good, and they are not reported."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines import llamacpp, sglang
from codec_agents.engines.base import StreamStats
from codec_agents.engines.openai import TextEvents
from codec_agents.engines.stock.openai_ids import CompletionEvents
from codec_agents.records.reader import read_record
from codec_agents.testing import Call, PromptView, ScriptedEngine

pytestmark = pytest.mark.anyio

COUNTS = [-1, -(10**30), 2**53, 10**30]
TIMES = [-1.0, 1e300]


def fed(parser: Any, *events: Any) -> Any:
    for event in events:
        parser.feed(f"data: {json.dumps(event)}\n\n".encode())
    return parser.stats


def figures(stats: StreamStats) -> tuple[Any, ...]:
    return (
        stats.prompt_tokens,
        stats.cached_tokens,
        stats.engine_seconds,
        stats.engine_queue,
        stats.engine_prefill,
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("time", TIMES)
def test_what_can_be_no_figure_is_not_reported(words: Any, ask: Any, count: int, time: float) -> None:
    request, nothing = ask(words), (None,) * 5
    usage = {"prompt_tokens": count, "prompt_tokens_details": {"cached_tokens": count}}
    metrics = {"queue_time_ms": time * 1000, "time_to_first_token_ms": time * 1000}
    said = {"choices": [], "usage": usage, "metrics": metrics}
    assert figures(fed(CompletionEvents("e", request, StreamStats()), said)) == nothing
    assert figures(fed(TextEvents("e", request, StreamStats()), said)) == nothing
    meta = {
        "completion_tokens": 0,
        "prompt_tokens": count,
        "cached_tokens": count,
        "queue_time": time,
        "first_token_latency": time,
        "forward_entry_time": -abs(time) * 1e7,
        "prefill_finished_time": abs(time) * 1e7,
    }
    found = figures(fed(sglang.GenerateEvents("e", StreamStats()), {"meta_info": meta}))
    assert found[:4] == nothing[:4]
    assert found[4] in (None, 2e7)
    event = {
        "stop": True,
        "tokens_predicted": 0,
        "tokens_evaluated": count,
        "timings": {"cache_n": count, "prompt_ms": time * 1000},
    }
    assert figures(fed(llamacpp.CompletionEvents("e", StreamStats(), request), event)) == nothing


class Telling:
    """An engine of a user's own, whose figures are none."""

    name = provider = "telling"

    def __init__(self, script: Any, count: Any, time: Any) -> None:
        self._behind = ScriptedEngine(script)
        self._count, self._time = count, time

    @asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[Any]:
        async with self._behind.stream(request) as frames:
            stats = frames.stats
            stats.prompt_tokens = stats.cached_tokens = self._count
            stats.engine_seconds = stats.engine_queue = stats.engine_prefill = self._time
            yield frames

    async def aclose(self) -> None:
        await self._behind.aclose()


@pytest.mark.parametrize(
    ("count", "time"),
    [
        *((count, time) for count in COUNTS for time in (*TIMES, float("nan"), float("inf"))),
        ("12", "soon"),
        (12.0, 2j),
    ],
)
async def test_a_run_goes_on_and_its_record_can_be_read(tmp_path: Path, count: Any, time: Any) -> None:
    prompts: list[PromptView] = []

    def look() -> str:
        """Look."""
        return "seen"

    def script(prompt: PromptView) -> Any:
        prompts.append(prompt)
        return Call("look") if len(prompts) == 1 else "done"

    p = Pipeline("p").input("q").sink("out")
    engine: Any = Telling(script, count, time)
    p.model("m", engine=engine, map="demo/bytes", prompt=Chat(user="{x}" * 9), tools=[look])
    p.connect("q", "m").connect("m", "out")
    path = tmp_path / "run.jsonl"
    result = await p.invoke({"q": "a long question " * 20}, record=path)
    assert (result.text["out"], result.usage["m"].turns) == ("done", 2)
    record = read_record(path)
    assert record.complete
    assert [(turn.cached, turn.engine) for turn in record.turns] == [(None, {})] * 2
