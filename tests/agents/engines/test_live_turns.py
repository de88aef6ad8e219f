"""Whole turns from a real vLLM, calls and reasoning included, at every number of ids per event."""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import WHOLE
from codec_agents.engines.vllm import VllmEngine
from codec_agents.events import GenerationFinished, IdsReceived
from codec_agents.exceptions import LimitExceededError
from tests.agents.engines.live_engines import live_engine
from tests.agents.engines.live_markers import reasoning_map

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.engines_all, pytest.mark.timeout(900)]

ENGINE = "vllm"
INTERVALS = (1, 4, 16, 64, WHOLE)
CALL = r'<tool_call>\n\{"name": "weather", "arguments": \{"city": "[A-Z][a-z]{2,6}"\}\}\n</tool_call>'

Turns = list[tuple[list[int], str | None, dict[str, list[int]]]]


async def turns_of(p: Pipeline) -> Turns:
    """Return each turn's ids, its end, and the ids of each lane, as observers see them."""
    found: Turns = []
    lanes: dict[str, list[int]] = {}
    try:
        async with p.run({"q": "How is the weather, and what does one wear in it?"}) as run:
            async for event in run:
                if isinstance(event, IdsReceived):
                    lanes.setdefault(event.port, []).extend(event.ids)
                elif isinstance(event, GenerationFinished):
                    found.append((list(event.generated_ids), event.finish_reason, lanes))
                    lanes = {}
            await run.wait()
    except LimitExceededError:  # of a model that has to call in each turn
        pass
    return found


async def at_intervals(**fields: Any) -> dict[int, Turns]:
    """Return the turns of a model at each interval.

    Each run has a cache of its own, and no other request may be under way: what a cache holds, and what is in
    a batch, changes how the rest is rounded.
    """
    url, _, model = live_engine("vllm")
    found = {}
    sampling = fields.pop("sampling")
    async with aclosing(VllmEngine(url, handshake="off")) as engine:
        for interval in INTERVALS:
            p = Pipeline("turns").input("q").sink("out", text=False)
            salted = {**sampling, "temperature": 0, "cache_salt": secrets.token_hex(8)}
            p.model("m", engine=engine, model=model, sampling=salted, stream_interval=interval, **fields)
            found[interval] = await turns_of(p.connect("q", "m.q").connect("m.answer", "out"))
    return found


async def test_turns_of_calls_are_the_same_at_every_interval() -> None:
    """The engine is made to write calls; each turn ends by a stop id behind its call."""
    asked: list[str] = []

    def weather(city: str) -> str:
        """Say the weather of a city."""
        asked.append(city)
        return "17 degrees"

    found = await at_intervals(
        map=live_engine("vllm")[1],
        prompt=Chat(user="{q}"),
        tools=[weather],
        policy={"limits": {"turns": 2}},
        sampling={"max_tokens": 60, "structured": {"regex": CALL}},
    )
    assert all(each == found[1] for each in found.values()), found
    assert [(end, set(lanes)) for _, end, lanes in found[1]] == [("stop", {"tool_calls"})] * 2
    assert asked == asked[:2] * len(INTERVALS)


async def test_reasoning_ends_at_the_same_id_at_every_interval() -> None:
    found = await at_intervals(
        map=reasoning_map(),
        dialect="smollm3",
        prompt=Chat(user="{q}", thinking="forced"),
        policy={"on_length": "accept"},
        sampling={"max_tokens": 90, "min_tokens": 80},
    )
    assert all(each == found[1] for each in found.values()), found
    [(ids, _, lanes)] = found[1]
    assert lanes["reasoning"], "the prompt opens it"
    assert lanes["answer"], ids
