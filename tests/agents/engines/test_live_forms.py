"""Answers with a form, from real engines that enforce it."""

from __future__ import annotations

import json
import math
import re
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, Field

from codec_agents import Pipeline
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import NodeFailedError
from tests.agents.engines.live_engines import each, live_engine
from tests.agents.engines.test_live_handoffs import TIE

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

ENGINES = {
    "vllm": VllmEngine,
    "llamacpp": LlamaCppEngine,
    "sglang": SglangEngine,
}


class Trip(BaseModel):
    city: str = Field(max_length=12)
    days: int = Field(ge=0, le=99)
    mood: bool


def pipeline(engine: Any, tokenizer_map: Any, model: str | None, **output: Any) -> Pipeline:
    p = Pipeline("form").input("q").sink("out")
    sampling = {"max_tokens": 80, "temperature": 1.0 if "schema" in output else HOT}
    p.model(
        "m",
        model=model,
        engine=engine,
        map=tokenizer_map,
        prompt="{q}",
        sampling=sampling,
        output={**output, "retries": 0},
    )
    return p.connect("q", "m.q").connect("m.answer", "out")


TIMES = 4
"""Answers at once, which an engine writes together."""

FORMS: list[dict[str, Any]] = [
    {"schema": Trip},
    {"choices": ["left", "right, slowly", 'a "third" way']},
    {"regex": "[a-f]{3}-[0-9]{2}"},
    {"grammar": 'root ::= ("wind" | "rain") " " [0-9] [0-9]'},
]
HOT = 2.0
"""The highest temperature that vLLM takes; JSON would hold white space up to its limit."""


@pytest.mark.parametrize("kind", each(*ENGINES))
@pytest.mark.parametrize("output", FORMS, ids=lambda output: next(iter(output)))
async def test_an_enforced_form_is_valid_every_time(kind: str, output: dict[str, Any]) -> None:
    """Only an answer that was cut may be invalid: JSON may hold any amount of white space."""
    url, tokenizer_map, model = live_engine(kind)
    engine = ENGINES[kind](url)
    if next(iter(output)) == "regex" and "regex" not in engine.enforced_forms:
        pytest.skip("the engine has no regular expressions")
    p = pipeline(engine, tokenizer_map, model, **output)
    values: list[Any] = []

    async def ask() -> None:
        try:
            result = await p.invoke({"q": "Tell me about a trip."})
        except NodeFailedError as error:
            if "schema" not in output or "it was cut" not in str(error):
                raise
        else:
            values.append((result.value["m"], result.text["out"]))

    async with aclosing(engine), anyio.create_task_group() as group:
        for _ in range(TIMES):
            group.start_soon(ask)
    assert values
    if "schema" in output:
        assert all(value == Trip(**json.loads(text)) for value, text in values)
    else:
        assert len(values) == TIMES
    if "grammar" in output:
        assert all(re.fullmatch("(wind|rain) [0-9]{2}", text) for _, text in values), values


@pytest.mark.parametrize("kind", each(*ENGINES))
async def test_a_router_of_an_enforcing_engine_always_has_a_label(kind: str) -> None:
    url, tokenizer_map, model = live_engine(kind)
    engine = ENGINES[kind](url)
    p = Pipeline("route").input("q").sink("out", text=False)
    p.router(
        "way",
        model=model,
        engine=engine,
        map=tokenizer_map,
        prompt="{q}",
        labels={"left": "echo", "right": "echo"},
        sampling={"temperature": 2.0, "logprobs": True},
    )
    p.function("echo", lambda value: value, map=tokenizer_map)
    p.connect("q", "way.q").connect("q", "echo.value").connect("echo", "out")
    results: list[Any] = []

    async def choose() -> None:
        results.append(await p.invoke({"q": "You go left, or you go"}))

    async with aclosing(engine), anyio.create_task_group() as group:
        for _ in range(TIMES):
            group.start_soon(choose)
    assert [result.usage["way"].generated_ids for result in results] == [1] * TIMES, "one id decides"
    for result in results:
        told = result.probabilities["way"]
        assert result.value["way"] in told
        assert set(told) == {"left", "right"} or kind == "llamacpp", "of the other one too"
        assert all(0 < probability <= 1 for probability in told.values())
        assert sum(told.values()) <= 1.001
        first = results[0].probabilities["way"]
        # llama.cpp tells what is among the most probable ids, and the drawn one.
        for label in told.keys() & first.keys():
            apart = abs(math.log(told[label] / first[label]))
            # Requests that share a batch may be rounded otherwise.
            assert apart < TIE, f"{label}: {told[label]} and {first[label]}, whichever was drawn"
