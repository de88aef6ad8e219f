"""Ids per event of a model's stream, decided by who reads them."""

from __future__ import annotations

from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import GenerationRequest
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


def interval(*edges: tuple[str, str], **fields: Any) -> int:
    """Return the interval of the model `m`, whose edges are given; what they leave open is filled."""
    p = Pipeline("one").input("q")
    engine = ScriptedEngine(lambda _: "said")
    p.model("m", engine=engine, map="demo/bytes", prompt="{q}", **fields).connect("q", "m.q")
    ends = {end for edge in edges for end in edge}
    if "both" in ends:
        p.join("both")
    for sink in ends & {"out", "ids"}:
        p.sink(sink, text=sink == "out")
    if "next.draft" in ends:
        p.model("next", engine=engine, map="demo/bytes", prompt="{draft}").sink("end")
        p.connect("next.answer", "end")
    for source, target in edges:
        p.connect(source, target)
    return p.build().nodes["m"].stream_interval  # type: ignore[attr-defined,no-any-return]


INTO_A_PROMPT = ("m.answer", "next.draft")


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


def test_the_engines_words() -> None:
    ask = {"prompt_ids": [1], "vocabulary": vocabulary_of(bundled_map("demo/bytes"))}
    one, several = GenerationRequest(**ask), GenerationRequest(**ask, stream_interval=16)
    assert (gathering(one), gathering(several)) == ({}, {"stream_interval": 16})
    assert generate_body(several)["sampling_params"]["stream_interval"] == 16
    assert sglang_body(several)["sampling_params"] == {"stream_interval": 16}
    assert sglang_body(one)["sampling_params"] == {}
