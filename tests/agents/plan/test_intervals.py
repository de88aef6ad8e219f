"""Ids per event of a model's stream, decided by who reads them."""

from __future__ import annotations

from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import WHOLE, GenerationRequest, Timeouts
from codec_agents.engines.sglang import generate_body as sglang_body
from codec_agents.engines.vllm import gathering, generate_body
from codec_agents.plan.intervals import GATHERED
from codec_agents.testing import ScriptedEngine
from codec_agents.tools.tool import tool
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of


@tool(read_only=True)
def look() -> str:
    """Look."""
    return ""


class Whole(ScriptedEngine):
    """An engine that can leave an answer unstreamed."""

    whole_answers = True


def interval(*edges: tuple[str, str], kind: type[ScriptedEngine] = Whole, **fields: Any) -> int:
    """Return the interval of the model `m`, whose edges are given; what they leave open is filled."""
    p = Pipeline("one").input("q")
    engine = kind(lambda _: "said")
    p.model("m", engine=engine, map="demo/bytes", prompt="{q}", **fields).connect("q", "m.q")
    ends = {end for edge in edges for end in edge}
    if "both" in ends:
        p.join("both")
    if "look.value" in ends:
        p.function("look", lambda value: value, map="demo/bytes").sink("seen").connect("look", "seen")
    for sink in ends & {"out", "ids"}:
        p.sink(sink, text=sink == "out")
    if "next.draft" in ends:
        p.model("next", engine=engine, map="demo/bytes", prompt="{draft}").sink("end")
        p.connect("next.answer", "end")
    for source, target in edges:
        p.connect(source, target)
    return p.build().nodes["m"].stream_interval  # type: ignore[attr-defined,no-any-return]


INTO_A_PROMPT = ("m.answer", "next.draft")


def test_joins_of_joins_are_seen_once() -> None:
    p = Pipeline("lattice").input("q").sink("end")
    p.model("m", engine=Whole(lambda _: "said"), map="demo/bytes", prompt="{q}").connect("q", "m.q")
    before = ["m.answer"]
    for layer in range(26):  # 2 to the power of 26 ways lead through these
        names = [f"a{layer}", f"b{layer}"]
        for name in names:
            p.join(name)
            for source in before:
                p.connect(source, name)
        before = names
    p.model("next", engine=Whole(lambda _: "said"), map="demo/bytes", prompt="{draft}").connect("next", "end")
    for source in before:
        p.connect(source, "next.draft")
    assert p.build().nodes["m"].stream_interval == GATHERED  # type: ignore[attr-defined]


def test_a_prompt_takes_several_ids_and_a_reader_takes_each() -> None:
    assert interval(INTO_A_PROMPT) == GATHERED
    assert interval(INTO_A_PROMPT, ("m.answer", "out")) == 1
    assert interval(INTO_A_PROMPT, ("m.reasoning", "ids")) == 1


def test_a_join_passes_on_to_its_readers() -> None:
    assert interval(("m.answer", "both"), ("both", "ids")) == 1
    assert interval(("m.answer", "both"), ("both", "next.draft")) == GATHERED


@pytest.mark.parametrize("fields", [{"tools": [look]}, {"policy": {"limits": {"reasoning_ids": 9}}}])
def test_a_node_that_acts_on_ids_as_they_come_takes_each(fields: dict[str, Any]) -> None:
    assert interval(INTO_A_PROMPT, **fields) == 1


def test_a_declared_interval_decides() -> None:
    assert interval(INTO_A_PROMPT, stream_interval=64) == 64
    assert interval(INTO_A_PROMPT, ("m.answer", "out"), stream_interval=4) == 4


INTO_A_FUNCTION = ("m.answer", "look.value")
SHORT_ANSWER = {"sampling": {"max_tokens": 64}}


def test_a_short_answer_that_functions_alone_read_is_not_streamed() -> None:
    assert interval(INTO_A_FUNCTION, **SHORT_ANSWER) == WHOLE
    assert interval(INTO_A_FUNCTION) == GATHERED, "it may be long"
    assert interval(INTO_A_FUNCTION, kind=ScriptedEngine, **SHORT_ANSWER) == GATHERED, "the engine cannot"
    assert interval(INTO_A_FUNCTION, ("m.answer", "ids"), **SHORT_ANSWER) == 1
    assert interval(INTO_A_FUNCTION, INTO_A_PROMPT, **SHORT_ANSWER) == GATHERED
    assert interval(INTO_A_FUNCTION, stream_interval=1, **SHORT_ANSWER) == 1
    assert interval(INTO_A_PROMPT, stream_interval=0) == WHOLE


def test_the_bound_on_an_answer_that_is_not_streamed() -> None:
    assert Timeouts(first_id=5, idle=2).of_whole_answer().first_id == 7
    assert Timeouts(first_id=5, idle=2, whole=60).of_whole_answer().first_id == 60
    assert Timeouts(first_id=5, idle=None).of_whole_answer().first_id is None


def test_the_engines_words() -> None:
    ask = {"prompt_ids": [1], "vocabulary": vocabulary_of(bundled_map("demo/bytes"))}
    one, several = GenerationRequest(**ask), GenerationRequest(**ask, stream_interval=16)
    assert (gathering(one), gathering(several)) == ({}, {"stream_interval": 16})
    assert generate_body(several)["sampling_params"]["stream_interval"] == 16
    assert sglang_body(several)["sampling_params"] == {"stream_interval": 16}
    assert sglang_body(one)["sampling_params"] == {}
    whole = GenerationRequest(**ask, stream_interval=WHOLE)
    assert (gathering(whole), generate_body(whole)["stream"], sglang_body(whole)["stream"]) == (
        {},
        False,
        False,
    )
    assert "stream_options" not in generate_body(whole)
