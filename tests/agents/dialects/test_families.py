"""Each family's turns are cut into the same lanes and calls however the stream is cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.dialects import Dialect, PortIds, dialects, get_dialect
from codec_agents.dialects.base import SPENT_BUDGET
from codec_agents.dialects.parsing.text_calls import CONTROL
from codec_agents.dialects.registry import built_in
from codec_agents.graph.explain import render_text
from codec_agents.plan.explanation import explain
from codec_agents.testing import ScriptedEngine
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import (
    FAMILIES,
    READ_ALIKE,
    Case,
    bench,
    cases,
    dialect_of,
    lanes,
    random_cuts,
)

ALL = [pytest.param(name, case, id=f"{name}: {case.name}") for name in FAMILIES for case in cases(name)]
CUTS = 50
TOOLS_CHANNEL = "<|open|>tools<|sep|><|close|>tools<|sep|>"


@pytest.mark.parametrize(("name", "case"), ALL)
def test_turn(name: str, case: Case, shared_map: Callable[[str], TokenizerMap]) -> None:
    family = bench(name, shared_map)
    ids = family.ids(case.turn)
    prompt = family.prompt()
    whole = lanes(family.read(prompt, ids, [], case.finish))
    answer, reasoning, regions = whole
    assert family.text(answer).strip() == case.answer.strip()
    thought = family.text(reasoning).removeprefix("thought").strip()
    if case.reasoning.endswith("…"):
        assert thought.startswith(case.reasoning[:-1].strip())
        assert "Oslo" in thought
    else:
        assert thought == case.reasoning
    calls = [call for region in regions for call in family.bound.parse_calls(region)]
    if case.unclosed:
        assert [call.closed for call in calls] == [False]
    elif case.error:
        assert len(calls) == 1
        assert calls[0].error
        assert calls[0].closed
    else:
        assert [(call.name, call.arguments) for call in calls] == case.calls
        assert not any(call.error for call in calls)
    draw = random.Random(f"{name} {case.name}")
    for _ in range(CUTS):
        assert lanes(family.read(prompt, ids, random_cuts(len(ids), draw), case.finish)) == whole
    assert lanes(family.read(prompt, ids, list(range(1, len(ids))), case.finish)) == whole


@pytest.mark.parametrize("name", FAMILIES)
def test_places_of_ids_are_exact(name: str, shared_map: Callable[[str], TokenizerMap]) -> None:
    """Ids of a port are those at their place; a call's place holds its payload, its marks, and no more."""
    family = bench(name, shared_map)
    form, special = family.bound.dialect.calls, family.vocabulary.special_tokens
    assert form is not None
    marks = {special.get(marker) for marker in (*form.starts, *form.ends, *family.bound.dialect.wrappers)}
    for case in cases(name):
        ids = family.ids(case.turn)
        for event in family.read(family.prompt(), ids, [], case.finish):
            if isinstance(event, PortIds):
                assert tuple(ids[event.start : event.start + len(event.ids)]) == event.ids
                continue
            span = ids[event.start : event.stop]
            if event.text is not None:
                end = form.text_end or ""
                around = (
                    ("", "") if form.keep_text_start else (form.text_starts[0], end if event.closed else "")
                )
                whole = event.text.replace(CONTROL.decode("utf-8", "replace"), "").join(around)
                assert whole in family.spelled(span)  # an id that it shares with its neighbours counts in
                assert whole not in family.spelled(span[1:])
                assert whole not in family.spelled(span[:-1])
            elif form.nested or family.bound.dialect.reader == "channels":
                begin = next(n for n in range(len(span)) if tuple(span[n : n + len(event.ids)]) == event.ids)
                around = [*span[:begin], *span[begin + len(event.ids) :]]
                assert family.spelled(around) in ("]<]minimax[>[", "<|open|>tools<|sep|>", TOOLS_CHANNEL)
            elif family.bound.dialect.reader == "messages":
                assert [*event.ids] == span[span.index(special["<|message|>"]) + 1 :][: len(event.ids)]
                assert span[0] == special["<|channel|>"] or span[0] == special["<|start|>"]
            elif family.bound.dialect.reader == "blocks":
                begin = span.index(special["<|content_invoke_tool_json|>"]) + 1
                assert span[begin : begin + len(event.ids)] == [*event.ids]
                assert [*event.header] == [
                    token for token in span[: begin - 1] if token not in special.values()
                ]
            else:
                assert span[0] in marks
                assert [token for token in span if token not in marks] == [*event.ids]
                assert span[-1] in marks or not (event.closed and form.ends)


def test_every_dialect_with_calls_has_its_turns() -> None:
    told = {name for name, dialect in dialects().items() if dialect.calls is not None and name in built_in()}
    assert told <= {dialect_of(name) for name in FAMILIES} | READ_ALIKE.keys()
    for name, family in FAMILIES.items():
        assert {"end", "one", "two", "malformed", "cut", "lookalike"} <= family.keys(), name
        form = get_dialect(dialect_of(name)).thinking
        may_think = form is not None and form.open in dialects()[dialect_of(name)].markers
        assert "thought" in family or not may_think or f"{name} thinking" in FAMILIES, name


@pytest.mark.parametrize("name", READ_ALIKE)
def test_dialect_is_read_as_the_one_that_it_is_like(name: str) -> None:
    dialect, other = get_dialect(name), get_dialect(READ_ALIKE[name])

    def read(form: Dialect) -> dict[str, Any]:
        assert form.calls is not None
        assert form.thinking is not None
        marks = (form.thinking.open, form.thinking.close, form.thinking.calls_end_it)
        return {
            "calls": form.calls.model_copy(update={"written": None}),
            "marks": marks,
            "tokens": (set(form.markers), set(form.stops), form.wrappers, form.turn_end, form.also_ends),
            "reader": form.reader,
        }

    assert read(dialect) == read(other)


def test_what_ends_a_call_of_gpt_oss_ends_its_turn(shared_map: Callable[[str], TokenizerMap]) -> None:
    """So a second call behind it cannot come up: what an engine sends on after a stop id is nobody's."""
    family, form = bench("harmony", shared_map), get_dialect("harmony").calls
    assert form is not None
    assert form.written is not None
    assert form.written.most == 1
    turn = family.ids([FAMILIES["harmony"]["one"], "<|call|>"])
    assert turn[-1] in family.bound.stop_ids
    more = family.ids(["<|start|>assistant", FAMILIES["harmony"]["one"], "<|call|>"])
    assert family.read([], [*turn, *more], [], "stop") == family.read([], turn, [], "stop")


def test_what_is_verified_and_what_is_not_is_explained(shared_map: Callable[[str], TokenizerMap]) -> None:
    p = Pipeline("bot").input("question").sink("reader").tokenizer_map("own", shared_map("qwen/qwen3"))
    engine = ScriptedEngine(lambda _: "Hi")
    p.model("bot", engine=engine, map="own", dialect="qwen3.5", prompt="{question}")
    p.connect("question", "bot.question").connect("bot.answer", "reader")
    text = render_text(explain(p.build()))
    assert "prompts verified against: the chat template Qwen3.5-4B, renderers 0.1.12 (qwen3.5)" in text
    assert f"not verified of this family: {SPENT_BUDGET}" in text
