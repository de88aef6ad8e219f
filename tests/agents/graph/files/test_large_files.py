"""Large and deep files: the work grows with the file, and no more faults are reported than can be read."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import PipelineError
from codec_agents.faults import MAX_FAULTS
from codec_agents.graph.spec import MAX_NESTING

MODEL = "  q: {kind: input}\n  m: {map: demo/bytes, prompt: '{x}', engine: e}\n  o: {kind: sink}\n"


def repeated(count: int) -> str:
    return f"nodes:\n{MODEL}edges:\n" + "- q->m.x\n" * count


def misspelt_ends(count: int) -> str:
    nodes = "".join(f"  node{number}: {{kind: sink}}\n" for number in range(count))
    return f"nodes:\n{nodes}edges:\n" + "".join(f"- q->nod{number}\n" for number in range(count))


def unknown_ports(count: int) -> str:
    edges = (f"- m.p{number}->o\n- q->m.s{number}\n" for number in range(count))
    return f"nodes:\n{MODEL}edges:\n" + "".join(edges)


def no_edges(count: int) -> str:
    return f"nodes:\n{MODEL}edges:\n" + "- 5\n" * count


def chain(count: int) -> str:
    return "nodes: {}\nedges:\n" + "".join(f"- a{number}->a{number + 1}\n" for number in range(count))


def faults_of(text: str) -> list[Any]:
    try:
        return Pipeline.from_yaml(f"pipeline: large\n{text}").check()
    except PipelineError as error:
        return list(error.faults)


def calls_for(text: str) -> int:
    """Return how many functions were called to read and check a text: a measure that no load changes."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        faults_of(text)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("kind", [repeated, misspelt_ends, unknown_ports, no_edges, chain])
def test_the_work_grows_with_the_file(kind: Any) -> None:
    faults_of(kind(2))
    small, large = calls_for(kind(300)), calls_for(kind(1200))
    assert large < 6 * small


@pytest.mark.parametrize("kind", [repeated, unknown_ports, no_edges])
def test_faults_are_bounded(kind: Any) -> None:
    faults = faults_of(kind(MAX_FAULTS + 50))
    errors = [fault for fault in faults if fault.severity == "error"]
    assert MAX_FAULTS <= len(errors) < MAX_FAULTS + 10, "of reading, and of checking the rest"


def nested(depth: int) -> Pipeline:
    pipeline = Pipeline("inner").input("q").sink("o").connect("q", "o")
    for _ in range(depth):
        pipeline = (
            Pipeline("outer")
            .input("q")
            .pipeline("n", pipeline)
            .sink("o")
            .connect("q", "n.q")
            .connect("n.o", "o")
        )
    return pipeline


def test_a_hundred_levels_of_pipelines_are_a_fault() -> None:
    assert not [fault for fault in nested(MAX_NESTING).check() if fault.severity == "error"]
    # Refused where it is declared: whatever walks a declaration, as `to_yaml` does, recurses.
    assert nested(MAX_NESTING).to_yaml().count("pipeline: inner") == 1
    with pytest.raises(PipelineError, match=f"nodes.n.body: pipelines are nested more than {MAX_NESTING}"):
        nested(MAX_NESTING + 1)


@pytest.mark.parametrize(
    "text",
    [
        "nodes: " + "[" * 100 + "]" * 100,
        "nodes: " + "{a: " * 100 + "1" + "}" * 100,
        "nodes:\n" + "".join("  " * level + "a:\n" for level in range(1, 100)),
        "nodes: " + "[" * 50_000,
    ],
    ids=["sequences", "mappings", "blocks", "unclosed"],
)
def test_a_deep_file_is_a_fault(text: str) -> None:
    [fault] = faults_of(text)
    assert "nested deeper than" in fault.found
