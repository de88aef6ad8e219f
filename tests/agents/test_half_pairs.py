"""Halves of surrogate pairs, which JSON's escapes and Python's texts can hold: the error of each place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.bridges.langgraph import MEMORY, _continued
from codec_agents.engines.options import read_options
from codec_agents.exceptions import DurableError, InputError, NodeFailedError, PipelineError
from codec_agents.scale.durable_rows import outcome_of, started_of
from codec_agents.testing import ScriptedEngine

HALF = "a\ud800b"


def declared(**fields: Any) -> Pipeline:
    p = Pipeline("p").input("q").sink("reader")
    fields = {"prompt": Chat(user="{q}"), **fields}
    p.model("m", engine=ScriptedEngine(lambda _: "ok"), map="demo/bytes", **fields)
    return p.connect("q", "m").connect("m", "reader")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"prompt": Chat(system=HALF, user="{q}")}, r"nodes\.m\.prompt\.system"),
        ({"model": HALF}, r"nodes\.m\.model"),
        ({"sampling": {"stop": ["x", HALF]}}, r"nodes\.m\.sampling\.stop\[1\]"),
        ({"sampling": {"extra": {HALF: 1}}}, r"nodes\.m\.sampling\.extra"),
    ],
)
def test_declared_text_is_refused_with_its_place(fields: dict[str, Any], place: str) -> None:
    p = declared(**fields)
    with pytest.raises(PipelineError, match=rf"{place}: the text 'a\\ud800b' holds half of a surrogate pair"):
        p.build()
    assert [fault.severity for fault in p.check()] == ["error"]


def test_objects_that_no_request_can_hold_are_refused() -> None:
    p = declared(sampling={"extra": {"deep": [object()]}})
    with pytest.raises(PipelineError, match=r"extra\.deep\[0\]: a value of type object"):
        p.build()


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def holding_itself() -> dict[str, Any]:
    value: dict[str, Any] = {"b": [1]}
    value["a"] = value["c"] = value
    return value


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        (holding_itself(), r"extra[.\w]+: a value that holds itself"),
        (deep(3000), "nested deeper than 64 levels"),
        (deep(61), "nested deeper than 64 levels"),
        ({"a": float("nan")}, r"extra\.a: a value of type float"),
        ({"a": float("inf")}, r"extra\.a: a value of type float"),
    ],
)
def test_what_has_no_end_and_no_number_is_refused(extra: dict[str, Any], found: str) -> None:
    p = declared(sampling={"extra": extra})
    assert all(fault.severity == "error" for fault in p.check())
    with pytest.raises(PipelineError, match=found):
        p.build()


def test_a_value_of_as_many_levels_as_a_file_may_have_is_taken() -> None:
    assert declared(sampling={"extra": deep(60)}).check() == []


@pytest.mark.asyncio
async def test_inputs_names_of_runs_and_results_of_functions_are_refused() -> None:
    with pytest.raises(InputError, match=r"the input 'q': a lone surrogate U\+D800 at character 1"):
        declared().run({"q": HALF})
    with pytest.raises(InputError, match="`run_id`: a lone surrogate"):
        declared().run({"q": "x"}, run_id=HALF)
    with pytest.raises(InputError, match="`run_id` is a text, not int"):
        declared().run({"q": "x"}, run_id=7)  # type: ignore[typeddict-item]
    p = Pipeline("p").input("q").sink("reader").function("f", lambda q: q + HALF, wants="text")
    with pytest.raises(NodeFailedError, match=r"node 'f' failed.*a lone surrogate U\+D800 at character 2"):
        await p.connect("q", "f").connect("f", "reader").invoke({"q": "x"})


def test_values_of_other_programs_are_refused_by_the_error_of_their_place() -> None:
    with pytest.raises(ValueError, match="the option 'max_connections'"):
        read_options("vllm", {"max_connections": HALF})
    damaged = {"args": [HALF, 1, HALF]}
    with pytest.raises(DurableError):
        started_of(SimpleNamespace(workflow_id="w", input=damaged))
    with pytest.raises(DurableError):
        outcome_of(SimpleNamespace(workflow_id="w", output={"text": HALF}))
    answer = SimpleNamespace(type="ai", text="x", additional_kwargs={MEMORY: {"histories": HALF}})
    asked = SimpleNamespace(type="human", text="y")
    with pytest.raises(InputError, match="is not an answer of this node"):
        _continued({"messages": [answer, asked]})
