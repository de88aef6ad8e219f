"""Declaring in YAML: short forms, inference, positions, nested files, and the round trip."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents.exceptions import PipelineError
from codec_agents.graph import (
    Declaration,
    InputNode,
    LoopNode,
    MapNode,
    ModelNode,
    PipelineNode,
    Policy,
    SinkNode,
)

HERE = Path(__file__).parent
TRAVEL_DESK = (HERE / "travel_desk.yaml").read_text()
EVERYTHING = (HERE / "everything.yaml").read_text()
"""Every kind of node, and nearly every field."""


def errors(text, **options):
    with pytest.raises(PipelineError) as caught:
        Declaration.from_yaml(text, **options)
    return caught.value.faults


def test_the_example_of_the_documentation_is_without_fault():
    pipeline = Declaration.from_yaml(TRAVEL_DESK)
    assert pipeline.check() == []
    assert isinstance(pipeline.spec.nodes["planner"], ModelNode)
    assert isinstance(pipeline.spec.nodes["question"], InputNode)
    assert isinstance(pipeline.spec.nodes["reader"], SinkNode)


def test_every_kind_of_node_is_told_by_its_fields():
    pipeline = Declaration.from_yaml(EVERYTHING)
    assert pipeline.check() == []
    kinds = {name: node.kind for name, node in pipeline.spec.nodes.items()}
    assert kinds == {
        "question": "input",
        "history": "input",
        "triage": "router",
        "desk": "model",
        "spare": "model",
        "upper": "function",
        "race": "join",
        "refine": "loop",
        "items": "map",
        "copy": "pipeline",
        "reader": "sink",
        "log": "sink",
    }
    assert pipeline.spec.nodes["triage"].labels == {"yes": ("desk",), "no": ("desk", "spare")}
    assert pipeline.spec.nodes["desk"].prompt.thinking == "off"


@pytest.mark.parametrize("text", [TRAVEL_DESK, EVERYTHING], ids=["travel desk", "everything"])
def test_what_is_written_reads_back_equal(text):
    pipeline = Declaration.from_yaml(text)
    written = pipeline.to_yaml()
    again = Declaration.from_yaml(written)
    assert again.spec == pipeline.spec
    assert again.to_yaml() == written


def test_a_declaration_in_python_and_in_yaml_are_one_value():
    p = Declaration("travel-desk").engine("A", kind="scripted", script="travel:script")
    p.model("planner", model="qwen2.5-7b", engine="A", map="qwen/qwen2", tools=["travel:fares"],
            prompt={"system": "..", "user": "{question}"})  # fmt: skip
    p.model("writer", map="meta-llama/llama-3", prompt="Rewrite:\n{draft}")
    p.input("question").sink("audit").sink("reader")
    p.connect("question", "planner.question").connect("planner.answer", "writer.draft")
    p.connect("planner.reasoning", "audit", buffer=64).connect("writer.answer", "reader")
    assert p.spec == Declaration.from_yaml(TRAVEL_DESK).spec


def test_json_reads_as_well():
    data = {"pipeline": "p", "nodes": {"a": {"kind": "input"}}, "edges": ["a -> b"]}
    assert set(Declaration.from_yaml(json.dumps(data)).spec.nodes) == {"a", "b"}


def test_all_faults_are_told_at_once_with_their_lines():
    text = """\
pipeline: p
nodes:
  planner:
    model: x
    promt: hi
  writer:
    model: y
    map: demo/bytes
    prompt: {user: "{draft", sytem: 3}
  odd: {}
  good: {map: demo/bytes, prompt: "{a} {b}", engine: Z}
edges:
  - planner.anser -> good.a
  - question -> nobody.x
  - a -> b -> c
"""
    found = {(fault.place, fault.line): fault for fault in errors(text)}
    assert set(found) >= {
        ("nodes.planner.prompt", 3),
        ("nodes.planner.promt", 5),
        ("nodes.writer.prompt.user", 9),
        ("nodes.writer.prompt.sytem", 9),
        ("nodes.odd", 10),
        ("nodes.good.engine", 11),
        ("nodes.good.prompt.user", 11),
        ("edges[1].to", 14),
        ("edges[2]", 15),
    }
    assert found["nodes.planner.promt", 5].remedy == "did you mean 'prompt'?"
    assert found["nodes.writer.prompt.sytem", 9].remedy == "did you mean 'system'?"
    assert ("edges[0].from", 13) not in found, "what could not be read is not at fault a second time"


def test_an_edge_that_cannot_be_read_moves_no_other(tmp_path):
    text = """\
pipeline: p
nodes: {m: {map: demo/bytes, prompt: "{x}"}}
edges:
  - a -> b -> c
  - q -> m
  - q -> nobody.x
"""
    found = {(fault.place, fault.line) for fault in errors(text) if fault.severity == "error"}
    assert {("edges[0]", 4), ("edges[2].to", 6)} <= found


def test_a_misspelt_field_that_would_tell_the_kind_is_named():
    (fault,) = errors("pipeline: p\nnodes:\n  m: {promt: hi}\n")
    assert fault.remedy.startswith("for 'promt': did you mean 'prompt'? Or give it a `kind`: input, model")


def test_what_does_not_parse_is_told_once_and_where_it_begins():
    (fault,) = errors('pipeline: p\nnodes:\n  a: {prompt: "x}\n\n\n')
    assert "(from line 3)" in fault.found
    assert "quote" in fault.remedy


@pytest.mark.parametrize("name", ["outer.yaml", "parts/inner.yaml"])
def test_a_file_that_is_not_utf_8_is_named_with_its_line(nested_files, name):
    path = nested_files / name
    path.write_bytes(path.read_bytes() + b"# caf\xe9\n")
    (fault,) = errors(nested_files / "outer.yaml")
    assert (fault.file, fault.line) == (str(path), path.read_bytes().count(b"\n"))
    assert fault.found.startswith("not UTF-8: the byte 0xe9 in line")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"\xef\xbb\xbf" + TRAVEL_DESK.encode())
    assert Declaration.from_yaml(tmp_path / "p.yaml").spec == Declaration.from_yaml(TRAVEL_DESK).spec


def test_a_fault_of_a_file_names_the_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("pipeline: p\nnodes:\n  a: {kind: imput}\n")
    (fault,) = errors(path)
    assert (fault.file, fault.line) == (str(path), 3)
    assert str(fault).startswith(f"{path}:3: nodes.a: ")


def test_a_warning_has_its_line_too():
    pipeline = Declaration.from_yaml(
        "pipeline: p\nnodes:\n  a: {type: text}\n  b: {type: text}\nedges: [a -> out]\n"
    )
    (warning,) = pipeline.check()
    assert (warning.place, warning.line, warning.severity) == ("nodes.b", 4, "warning")


def test_a_name_close_to_a_declared_one_is_suspicious():
    text = """\
pipeline: p
nodes: {question: {type: text}, m: {prompt: "{x}"}}
edges: [quesiton -> m.x, m -> out]
"""
    warnings = [str(fault) for fault in Declaration.from_yaml(text).check() if fault.severity == "warning"]
    assert any("did you mean 'question'?" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "the file is empty"),
        ("[1]\n", "the file is not a mapping"),
        ("pipeline: p\n", "'nodes' is empty"),
        ("nodes: {a: {kind: input}}\n", "'pipeline' is missing"),
        (
            "pipeline: p\nengines: {A: {kind: zz, url: x}}\nnodes: {a: {kind: input}}\n",
            "'zz' is none of the values for 'kind'",
        ),
        ("pipeline: p\nnodes: 3\n", "valid dictionary"),
        ("pipeline: p\nversion: 99\nnodes: {a: {kind: input}}\n", "less than or equal to 1"),
        ("pipeline: p\nnodes: {a.b: {kind: input}}\n", "is not a name"),
        ("pipeline: p\nmaps: {m: {path: x, hash: abc}}\nnodes: {a: {kind: input}}\n", "not have its form"),
        ("pipeline: p\nnodes: {a: {kind: input}}\nedges: a -> b\n", "valid tuple"),
        ("pipeline: p\nnodes: {a: {kind: input}}\nedges: [3]\n", "an edge is written"),
        ("pipeline: p\nnodes: {a: 3}\n", "the kind of this node is unknown"),
        ("pipeline: p\nnodes: {a: {kind: input}, a: {kind: sink}}\n", "declared twice"),
        ("pipeline: p\nnodes: {a: {pipeline: other.yaml}}\n", "there is none"),
        (
            'pipeline: p\nengines: {A: {url: "http://${W}@x", api_key: "${K}"}}\nnodes: {a: {text: true}}\n',
            "both an `api_key` and a login",
        ),
    ],
)
def test_what_cannot_be_read(text, found):
    faults = errors(text + "\n")
    assert any(found in fault.found for fault in faults), [str(fault) for fault in faults]
    assert all(fault.remedy for fault in faults)


@pytest.mark.parametrize(
    "engine",
    [
        '{url: "http://x", api_key: "sk-verysecret"}',
        '{url: "http://me:verysecret@x"}',
        '{url: "http://x", headers: {Authorization: "Bearer verysecret"}}',
        '{url: "http://x", headers: {X-Api-Key: "verysecret"}}',
        '{url: "verysecret"}',
    ],
)
def test_a_secret_in_a_file_is_refused_and_never_shown(engine):
    text = f"pipeline: p\nengines:\n  A: {engine}\nnodes: {{a: {{kind: input}}}}\nedges: [a -> b]\n"
    faults = errors(text)
    assert faults
    assert "verysecret" not in str(faults)
    assert faults[0].line == 3


def test_references_to_the_environment_stay_references(monkeypatch):
    monkeypatch.setenv("KEY", "verysecret")
    pipeline = Declaration.from_yaml(EVERYTHING)
    assert "verysecret" not in pipeline.to_yaml() + repr(pipeline.spec) + str(pipeline.check())
    assert "${KEY}" in pipeline.to_yaml()


@pytest.fixture
def nested_files(tmp_path):
    """A pipeline file that names another one, which has a fault in line 4."""
    (tmp_path / "outer.yaml").write_text(
        "pipeline: outer\nengines: {A: {kind: scripted, script: hi}}\n"
        "nodes:\n  inner: {pipeline: parts/inner.yaml}\nedges: [q -> inner.x, inner.out -> reader]\n"
    )
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "inner.yaml").write_text(
        'pipeline: inner\nnodes:\n  m:\n    prompt: "{x}"\nedges: [x -> m.x, m.answer -> out]\n'
    )
    return tmp_path


def test_a_nested_file_is_read_and_written_as_a_file(nested_files):
    pipeline = Declaration.from_yaml(nested_files / "outer.yaml")
    node = pipeline.spec.nodes["inner"]
    assert isinstance(node, PipelineNode)
    assert (node.slots, node.ports, node.file) == (("x",), ("out",), "parts/inner.yaml")
    assert "pipeline: parts/inner.yaml" in pipeline.to_yaml()
    assert Declaration.from_yaml(pipeline.to_yaml(), directory=nested_files).spec == pipeline.spec


def test_a_fault_inside_a_nested_file_names_that_file(nested_files):
    (fault,) = Declaration.from_yaml(nested_files / "outer.yaml").check()
    assert fault.place == "nodes.inner.pipeline.nodes.m"
    assert (fault.file, fault.line) == (str(nested_files / "parts" / "inner.yaml"), 3)
    (other,) = Declaration.from_yaml(nested_files / "outer.yaml").located([fault])
    assert other == fault


def test_files_that_name_each_other_end(tmp_path):
    (tmp_path / "a.yaml").write_text("pipeline: a\nnodes: {n: {pipeline: a.yaml}}\n")
    faults = errors(tmp_path / "a.yaml")
    assert any("more than 8 files" in fault.found for fault in faults)


def test_a_nested_file_that_is_not_there(tmp_path):
    (tmp_path / "a.yaml").write_text("pipeline: a\nnodes: {n: {each: missing.yaml}}\n")
    (fault,) = errors(tmp_path / "a.yaml")
    assert "cannot read 'missing.yaml'" in fault.found
    assert fault.line == 2


def test_bodies_have_a_name_of_their_own():
    nodes = Declaration.from_yaml(EVERYTHING).spec.nodes
    assert isinstance(nodes["refine"], LoopNode)
    assert isinstance(nodes["items"], MapNode)
    assert [nodes[name].body.pipeline for name in ("refine", "items", "copy")] == ["refine", "items", "copy"]


# Any declaration reads back equal

names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_-]{0,8}\Z")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
seconds = st.floats(0.1, 1e6)
policies = st.builds(
    Policy.model_validate,
    st.fixed_dictionaries(
        {},
        optional={
            "timeouts": st.fixed_dictionaries({}, optional={"idle": seconds | st.none(), "whole": seconds}),
            "limits": st.fixed_dictionaries({}, optional={"turns": st.integers(1, 99)}),
            "on_failure": st.sampled_from(["fail", "skip"]),
        },
    ),
)


@given(
    name=texts.filter(lambda text: text and "\0" not in text),  # it names a map as well, which may be a file
    node_names=st.lists(names, min_size=3, max_size=3, unique_by=str.lower),
    system=texts,
    separator=texts,
    policy=policies,
    temperature=st.floats(0, 2) | st.none(),
)
def test_any_declaration_reads_back_equal(name, node_names, system, separator, policy, temperature):
    source, model, sink = node_names
    p = Declaration(name, description=system, policy=policy)
    p.input(source, default=separator).sink(sink, text=len(system) % 2 == 0)
    escaped = system.replace("{", "{{").replace("}", "}}")
    sampling = None if temperature is None else {"temperature": temperature, "stop": [separator]}
    p.model(model, prompt={"system": escaped, "user": "{x}"}, map=name, sampling=sampling, policy=policy)
    p.connect(source, f"{model}.x", separator=separator).connect(model, sink)
    written = p.to_yaml()
    again = Declaration.from_yaml(written + "\n")
    assert again.spec == p.spec
    assert again.to_yaml() == written
