"""Large and deep files: the work grows with the file, and no more faults are reported than can be read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import PipelineError
from codec_agents.faults import MAX_FAULTS
from codec_agents.graph.files.document import MAX_DOCUMENT_CHARACTERS, MAX_VALUES, Extent, read_file
from codec_agents.graph.files.reading import prepare
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


def circles(count: int) -> str:
    nodes = "".join(f"  n{number}: {{kind: join}}\n" for number in range(count))
    back = "".join(f"- n{number}->n0\n- n{number}->n{number + 1}\n" for number in range(count - 1))
    return f"nodes:\n{nodes}edges:\n{back}"


def joins_of_text(count: int) -> str:
    nodes = "".join(f"  j{number}: {{kind: join}}\n" for number in range(count))
    return f"nodes:\n{nodes}edges:\n- q->j0\n" + "".join(f"- j{n + 1}->j{n}\n" for n in range(count - 1))


def many_tools(count: int) -> str:
    tools = "".join(f"    - m{number}:f\n" for number in range(count))
    return f"nodes:\n  m:\n    map: demo/bytes\n    engine: e\n    prompt: hi\n    tools:\n{tools}"


def lost_slots(count: int) -> str:
    slots = ", ".join(f"slot{number}" for number in range(count))
    edges = "".join(f"- nowhere.x->f.slt{number}\n" for number in range(count))
    return f"nodes:\n  f: {{call: 'a:b', inputs: [{slots}]}}\nedges:\n{edges}"


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


SLOW = [
    pytest.param(kind, marks=pytest.mark.slow)
    for kind in (
        repeated,
        chain,
        joins_of_text,
        many_tools,
        circles,
        lost_slots,
        misspelt_ends,
        unknown_ports,
    )
]


@pytest.mark.parametrize("kind", [no_edges, *SLOW])
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


def test_a_circle_of_each_part_is_told_in_a_few_names() -> None:
    found = [fault.found for fault in faults_of(circles(200)) if "circle" in fault.found]
    assert found == ["a circle without a limit: n0 -> n0"]
    around = "".join(f"- n{number}->n{(number + 1) % 100}\n" for number in range(100))
    nodes = "".join(f"  n{number}: {{kind: join}}\n" for number in range(100))
    [circle] = [
        fault.found for fault in faults_of(f"nodes:\n{nodes}edges:\n{around}") if "circle" in fault.found
    ]
    assert circle.endswith("n17 -> n18 -> … -> n0")


def test_a_fault_deep_inside_has_its_line_at_once() -> None:
    text = "{pipeline: x, nodes: {body: {kind: model, zz: 1}}}"
    for _ in range(18):
        text = f"{{pipeline: x, nodes: {{body: {{loop: {text}, turns: 1}}}}}}"
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_yaml(text)
    assert all(fault.line == 1 for fault in refused.value.errors)


@pytest.mark.parametrize(
    "used", [Extent(values=MAX_VALUES - 400), Extent(characters=MAX_DOCUMENT_CHARACTERS - 3000)]
)
def test_files_that_multiply_have_the_bounds_of_one_document(used: Extent, tmp_path: Path) -> None:
    nodes = "".join(f"  n{number}: {{each: self.yaml}}\n" for number in range(8))
    file = tmp_path / "self.yaml"
    file.write_text(f"pipeline: s\nnodes:\n{nodes}", encoding="utf-8")
    document = read_file(file, "self.yaml", used)
    prepare(document, tmp_path)
    found = {fault.found for fault in document.faults}
    assert any("more than 1000" in each for each in found)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a file without end")
def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(PipelineError, match="more than 1000000 characters"):
        Pipeline.from_yaml(Path("/dev/zero"))


@pytest.mark.parametrize(
    "text",
    [
        "nodes: " + "[" * 100 + "]" * 100,
        "nodes: " + "{a: " * 100 + "1" + "}" * 100,
        "nodes:\n" + "".join("  " * level + "a:\n" for level in range(1, 100)),
        pytest.param("nodes: " + "[" * 50_000, marks=pytest.mark.slow),
    ],
    ids=["sequences", "mappings", "blocks", "unclosed"],
)
def test_a_deep_file_is_a_fault(text: str) -> None:
    [fault] = faults_of(text)
    assert "nested deeper than" in fault.found
