"""The published JSON Schema: fresh, valid, and of one mind with the reader."""

from pathlib import Path

import pytest

from codec_agents.graph import Pipeline
from codec_agents.graph.document import read_document
from codec_agents.graph.schema import json_schema, schema_text
from codec_agents.graph.writing import to_data

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "pipeline.schema.json"

HERE = Path(__file__).parent


def faults(data):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    return list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))


def test_the_published_schema_is_fresh():
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        f"write {PUBLISHED.name} again: codec-agents schema > docs/{PUBLISHED.name}"
    )


def test_it_is_a_schema():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", ["travel_desk", "everything"])
def test_files_in_short_and_in_written_form_are_valid(name):
    text = (HERE / f"{name}.yaml").read_text()
    assert faults(read_document(text).data) == []
    assert faults(to_data(Pipeline.from_yaml(text).spec)) == []


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
    assert edge["properties"]["from"]["description"].startswith("Where it begins")
