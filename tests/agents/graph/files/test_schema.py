"""The published JSON Schema: fresh, valid, and of one mind with the reader."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_agents.exceptions import PipelineError
from codec_agents.graph import Declaration
from codec_agents.graph.files.document import read_document
from codec_agents.graph.files.schema import json_schema, schema_text
from codec_agents.graph.files.schema_rules import RULES
from codec_agents.graph.files.writing import to_data

PUBLISHED = Path(__file__).resolve().parents[4] / "docs" / "pipeline.schema.json"

HERE = Path(__file__).parent


VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def faults(data):
    return list(VALIDATOR.iter_errors(data))


def test_the_published_schema_is_fresh():
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        f"write {PUBLISHED.name} again: codec-agents schema > docs/{PUBLISHED.name}"
    )


def test_every_rule_belongs_to_a_model():
    assert set(RULES) <= {*json_schema()["$defs"], "PipelineSpec"}


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", ["travel_desk", "everything"])
def test_files_in_short_and_in_written_form_are_valid(name):
    text = (HERE / f"{name}.yaml").read_text()
    assert faults(read_document(text).data) == []
    assert faults(to_data(Declaration.from_yaml(text).spec)) == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"pipeline": "p"},
        {"pipeline": "p", "nodes": {}},
        {"pipeline": "p", "nodes": {"a.b": {"kind": "input"}}},
        {"pipeline": "p", "nodes": {"m": {"prompt": "x", "promt": "y"}}},
        {"pipeline": "p", "nodes": {"m": {"prompt": 3}}},
        {"pipeline": "p", "nodes": {"m": {"kind": "model"}}},
        {"pipeline": "p", "nodes": {"a": {"kind": "input"}}, "edges": ["a, b"]},
        {"pipeline": "p", "nodes": {"a": {"kind": "input"}}, "edges": [{"from": "a"}]},
        {"pipeline": "p", "nodes": {"a": {"kind": "input"}}, "policy": {"limits": {"turns": 0}}},
        {"pipeline": "p", "nodes": {"a": {"kind": "loop", "loop": "x.yaml"}}},
        {"pipeline": "p", "nodes": {"a": {"kind": "input"}}, "maps": {"m": {"path": "x", "hub": "o/m"}}},
    ],
)
def test_what_the_reader_refuses_the_schema_refuses_too(data):
    assert faults(data)


def test_fields_are_described_for_editors():
    schema = json_schema()["$defs"]
    assert schema["ModelNode"]["properties"]["tools"]["description"].startswith(
        "Callables and toolsets as `module:name`;"
    )
    assert schema["Limits"]["properties"]["turns"]["description"].startswith("Generations asked for")
    edge = schema["EdgeSpec"]["anyOf"][1]
    assert edge["properties"]["from"]["description"].startswith("The source:")


NOT_IN_A_SCHEMA = (
    "is beside a pipeline file",
    "holds a secret",
    "cannot hold a secret",
    "initial is longer",
    " calls ",
    "is none of the values for 'kind'",
)
"""What only the reader refuses: files need a folder, secrets are recognized by more than a pattern, and
installed packages add kinds of engines."""


def documents():
    """Give declarations that are read without fault, as plain data, in short and in written form."""
    for name in ("travel_desk", "everything"):
        text = (HERE / f"{name}.yaml").read_text()
        yield json.loads(json.dumps(read_document(text).data))
        yield json.loads(json.dumps(to_data(Declaration.from_yaml(text).spec)))


DOCUMENTS = list(documents())
ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    4.0,
    "",
    "x",
    "on",
    "a.b",
    "a -> b",
    "a{b",
    "${KEY}",
    "http://x",
    [],
    {},
    ["x"],
]
ODD += [{"x": 1}, {"user": "{q}"}, [{"slot": "q"}], [1, 2], "sink"]


def places(value, path=()):
    """Yield the path to each part of a document."""
    if path:
        yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def at(document, path):
    """Return what holds the last step of a path."""
    for key in path[:-1]:
        document = document[key]
    return document


FIELDS = sorted({path[-1] for data in DOCUMENTS for path in places(data) if isinstance(path[-1], str)})


@st.composite
def changed(draw):
    """Draw a document in which one or two things were replaced, taken out or added."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(document))))
        holder = at(document, path)
        match draw(st.sampled_from(["replace", "move", "take out", "add"])):
            case "replace":
                holder[path[-1]] = copy.deepcopy(draw(st.sampled_from(ODD)))
            case "move":
                other = draw(st.sampled_from(list(places(document))))
                holder[path[-1]] = copy.deepcopy(at(document, other)[other[-1]])
            case "take out":
                del holder[path[-1]]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(FIELDS))] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return document


@settings(max_examples=50)
@given(changed())
def test_the_schema_takes_what_the_reader_takes_and_nothing_else(data):
    valid = VALIDATOR.is_valid(data)
    try:
        Declaration.from_yaml(json.dumps(data))
    except PipelineError as error:
        told = " ".join(fault.found for fault in error.errors)
        assert not valid or any(each in told for each in NOT_IN_A_SCHEMA)
    else:
        assert valid
