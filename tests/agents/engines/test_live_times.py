"""The times that real engines report of a request are in the report of the handoff to it."""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.factory import make_engine
from tests.agents.engines.live_engines import each, live_engine

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

TELLING: dict[str, tuple[dict[str, Any], bool]] = {
    "vllm": ({"api": "completions"}, True),
    "llamacpp": ({}, False),
    "sglang": ({"api": "generate"}, True),
}
"""Options with which an engine tells its times, and whether it tells that of its queue."""


@pytest.mark.parametrize("kind", each(*TELLING))
async def test_the_engine_s_own_times_are_in_the_handoff(kind: str) -> None:
    url, tokenizer_map, model = live_engine(kind)
    options, queues = TELLING[kind]
    async with aclosing(make_engine(kind, url=url, options=options)) as engine:
        p = Pipeline("times").input("task").sink("out", text=False)
        sampling = {"max_tokens": 4, "temperature": 0}
        shared: dict[str, Any] = {
            "engine": engine,
            "model": model,
            "map": tokenizer_map,
            "sampling": sampling,
        }
        p.model("a", prompt="{task}", **shared).model("b", prompt="Read: {draft}", **shared)
        p.connect("task", "a.task").connect("a.answer", "b.draft").connect("b.answer", "out")
        report = (await p.invoke({"task": f"[{secrets.token_hex(8)}] Tell a story."})).handoffs[-1]
    assert report.engine_prefill is not None
    assert (report.engine_queue is not None) == queues
    told = report.engine_prefill + (report.engine_queue or 0.0)
    # An engine may begin before this process, on a busy machine, has noted that the request is written.
    between = report.parts["request"] + report.parts["engine"]
    assert 0 < told <= between, "parts of the time between the request and the first id"
