"""Schemas whose words have values of another type are refused where they come in."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents.exceptions import ToolDefinitionError
from codec_agents.tools.mcp import make_tools
from codec_agents.tools.schema_check import schema_fault

LEGAL = [
    {},
    True,
    {"properties": {"x": True}, "required": ["x"], "additionalProperties": False},
    {"type": ["string", "null"], "enum": [1, None]},
    {"properties": {"x": {"description": None}, "description": {"description": "A text."}}},
    {"anyOf": [{"type": "string"}, False], "items": [{"type": "string"}]},
]
MALFORMED = [
    ({"properties": None}, "properties"),
    ({"properties": {"x": {"required": 5}}}, "required"),
    ({"required": [1]}, "required"),
    ({"anyOf": [{"enum": 5}]}, "enum"),
    ({"items": {"type": 5}}, "type"),
    ({"properties": {"x": {"description": 5}}}, "description"),
    ({"properties": {"x": "string"}}, "not a str"),
    ({"$defs": {"a": [1]}}, "not a list"),
]


@pytest.mark.parametrize("schema", LEGAL)
def test_legal_ones_have_no_fault(schema):
    assert schema_fault(schema) is None


@pytest.mark.parametrize(("schema", "word"), MALFORMED)
def test_the_fault_names_the_word(schema, word):
    assert word in (schema_fault(schema) or "")


WORDS = ["properties", "items", "type", "enum", "anyOf", "required", "$defs", "x"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["properties", "items", "type", "enum", "anyOf", "required", "$defs", "x"]),
            inner,
            max_size=3,
        )
    ),
)


@given(VALUES)
def test_any_value_has_an_answer(value):
    assert schema_fault(value) is None or isinstance(schema_fault(value), str)


def test_a_tool_of_a_server_with_a_malformed_schema_is_named():
    schema = {"properties": {"x": {"enum": 5}}}
    offered = [SimpleNamespace(name="look", description="", input_schema=schema, annotations=None)]
    with pytest.raises(ToolDefinitionError, match="'look' is no JSON schema: its enum has another type"):
        make_tools(offered, lambda name: lambda: name)
