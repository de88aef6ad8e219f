"""What engines report of themselves: times and cached ids in handoffs, records and traces; cache losses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import FrameStream, GenerationRequest, StreamStats
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.records.reader import read_record
from codec_agents.testing import Call, ScriptedEngine
from codec_agents.tools.tool import tool
from codec_agents.trace.timeline import traced
from codec_agents.turn import CACHE_BLOCKS, lost_from, shared_prefix
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.stock_servers import (
    DONE,
    SSE,
    StockServer,
    event,
    llamacpp_completion,
    sglang_event,
    usage_event,
    vllm_event,
)

pytestmark = pytest.mark.anyio

VOCABULARY = vocabulary_of(bundled_map("demo/bytes"))
END = VOCABULARY.special_tokens["<|im_end|>"]
IDS = [65, 66, END]


def vllm_with_times(asked: Any) -> Any:
    usage = {
        **usage_event(len(asked["prompt"]), len(IDS)),
        "metrics": {"queue_time_ms": 3.0, "time_to_first_token_ms": 40.0, "mean_itl_ms": 1},
    }
    return 200, SSE, [event(vllm_event(IDS, finish="stop")), event(usage), DONE]


def sglang_with_times(_: Any) -> Any:
    document = sglang_event(IDS, len(IDS), finish={"type": "stop", "matched": END})
    document["meta_info"] |= {
        "queue_time": 0.003, "forward_entry_time": 1762.0, "prefill_finished_time": 1762.04,
        "first_token_latency": 0.05,
    }  # fmt: skip
    return 200, SSE, [event(document), DONE]


SERVERS: dict[str, tuple[Any, dict[str, Any], Any, tuple[Any, Any, Any]]] = {
    "vllm": (VllmEngine, {"api": "completions"}, {"/v1/completions": vllm_with_times}, (0.003, 0.04, 0.043)),
    "sglang": (SglangEngine, {"api": "generate"}, {"/generate": sglang_with_times}, (0.003, 0.04, 0.05)),
    "llamacpp": (
        LlamaCppEngine,
        {},
        {"/completion": llamacpp_completion(VOCABULARY, IDS)},
        (None, 0.0125, 0.0125),
    ),
}


@pytest.mark.parametrize("kind", SERVERS)
async def test_an_engines_own_times_are_read_and_unknown_ones_stay_unknown(kind: str) -> None:
    made, options, routes, (queue, prefill, first_id) = SERVERS[kind]
    async with StockServer(routes) as server:
        engine = made(server.url, handshake=False, **options)
        request = GenerationRequest(prompt_ids=[65, 66], vocabulary=VOCABULARY)
        async with engine.stream(request) as frames:
            async for _ in frames:
                pass
        await engine.aclose()
    stats = frames.stats
    assert stats.engine_queue == queue
    assert stats.engine_prefill == pytest.approx(prefill)
    assert stats.engine_seconds == pytest.approx(first_id)


class Reporting(ScriptedEngine):
    """A model whose engine reports figures of each request, in order."""

    def __init__(self, script: Any, *cached: int | None) -> None:
        super().__init__(script)
        self._cached = list(cached)

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        async with super().stream(request) as frames:
            stats: StreamStats = frames.stats
            stats.cached_tokens = self._cached.pop(0)
            stats.engine_queue, stats.engine_prefill, stats.engine_seconds = 0.25, 0.5, 0.8
            yield frames


def pair(engine: Any, **fields: Any) -> Pipeline:
    p = Pipeline("pair").input("q").sink("out")
    p.model("a", engine=ScriptedEngine(lambda _: "a draft"), map="demo/words", prompt="{q}")
    p.model("b", engine=engine, map="demo/bytes", prompt="{draft}", **fields)
    return p.connect("q", "a.q").connect("a.answer", "b.draft").connect("b.answer", "out")


async def test_a_handoff_has_the_engines_own_times_also_in_a_record(tmp_path: Path) -> None:
    result = await pair(Reporting(lambda _: "read", 7)).invoke({"q": "?"}, record=tmp_path / "run.jsonl")
    first, last = result.handoffs
    assert (first.cached_ids, first.engine_queue, first.engine_prefill) == (None, None, None)
    assert (last.cached_ids, last.engine_queue, last.engine_prefill) == (7, 0.25, 0.5)
    edges = traced(read_record(tmp_path / "run.jsonl"), "run").edges
    found = {edge.target: (edge.cached, edge.engine_queue, edge.engine_prefill) for edge in edges}
    assert found == {"a.q": (None, None, None), "b.draft": (7, 0.25, 0.5), "out": (None, None, None)}


# --- cache losses ---


@pytest.mark.parametrize(
    ("kept", "cached", "lost"),
    [
        (0, 0, None), (1000, None, None), (1000, 990, None), (1000, 500, None), (1000, 499, 499),
        (1000, 0, 0),         (CACHE_BLOCKS, 0, None), (CACHE_BLOCKS + 1, 0, 0),
    ],
)  # fmt: skip
def test_most_of_a_kept_prefix_has_to_be_lost(kept: int, cached: int | None, lost: int | None) -> None:
    assert lost_from(kept, cached) == lost


@tool
def look() -> str:
    """Look."""
    return "seen " * 200


def looking(prompt: Any) -> Any:
    return Call("look") if prompt.turn < 4 else "done"


async def test_a_lost_cache_is_told_once_with_the_node_the_turn_and_the_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Reporting(looking, 0, 10_000, 3, 4)
    p = Pipeline("one").input("q").sink("out")
    p.model("m", engine=engine, map="demo/bytes", prompt=Chat(user="{q}"), tools=[look])
    with caplog.at_level(logging.WARNING, "codec_agents"):
        await (
            p.connect("q", "m.q")
            .connect("m.answer", "out")
            .invoke({"q": "?" * 900}, record=tmp_path / "r.jsonl")
        )
    losses = traced(read_record(tmp_path / "r.jsonl"), "r").cache_losses
    assert [(lost["node"], lost["turn"], lost["cached"]) for lost in losses] == [("m", 3, 3), ("m", 4, 4)]
    third = engine.requests[2].prompt_ids
    assert losses[0]["id"] == third[3]
    (told,) = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert f"node m: in turn 3 the engine found 3 of the {losses[0]['kept']} ids" in told
    assert f"read anew from id {third[3]} on" in told


async def test_a_run_after_another_keeps_that_runs_ids() -> None:
    engine = ScriptedEngine(lambda _: "well")
    p = Pipeline("one").input("q").sink("out")
    p.model("m", engine=engine, map="demo/bytes", prompt=Chat(user="{q}"))
    p.connect("q", "m.q").connect("m.answer", "out")
    first = await p.invoke({"q": "one"})
    kept = []
    async with p.run({"q": "two"}, after=first) as run:
        kept = [each.kept_prefix async for each in run if type(each).__name__ == "GenerationStarted"]
    history = first.histories["m"]
    assert kept == [len(history.prompt) + len(history.generated)]


def test_a_shared_prefix_is_found_by_halving() -> None:
    for length in range(20):
        assert shared_prefix(list(range(length)), [*range(length), -1, 7]) == length
        assert shared_prefix([*range(length), -2], [*range(length), -1, 7]) == length
