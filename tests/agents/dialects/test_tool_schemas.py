"""Schemas of tools that are legal and seldom met: every family writes them."""

from types import SimpleNamespace

import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.dialects.registry import dialects
from codec_agents.dialects.writing.tool_forms import write_tools
from codec_agents.dialects.writing.typescript_tools import harmony_tool
from codec_agents.exceptions import PromptError
from codec_agents.graph import Chat
from tests.agents.dialects.families import small_map_of

SCHEMAS = {
    "a parameter that takes any value": {"properties": {"x": True}},
    "a parameter that takes no value": {"properties": {"x": False}},
    "items of any kind": {"properties": {"x": {"type": "array", "items": True}}},
    "items by position": {"properties": {"x": {"type": "array", "items": [{"type": "string"}]}}},
    "a choice with any value": {"properties": {"x": {"anyOf": [True, {"type": "string"}]}}},
    "no schema": {},
}
WITHOUT_TOOLS = {"gemma-3", "phi3", "phi4", "plain"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_family_writes_it(name):
    tool = SimpleNamespace(name="look", description="Look.", parameters={"type": "object", **SCHEMAS[name]})
    refused = set()
    for family in dialects():
        try:
            BoundDialect(get_dialect(family), small_map_of(family), [tool]).template(Chat(user="hi"))
        except PromptError:
            refused.add(family)
    assert refused == WITHOUT_TOOLS


def test_what_any_value_is_written_as():
    tool = SimpleNamespace(name="look", description="Look.", parameters={"properties": {"x": True}})
    assert "x?: any," in harmony_tool(tool)


def test_what_a_form_repeats_of_a_schema_is_left_as_it_is():
    tool = SimpleNamespace(
        name="look", description="Look.", parameters={"properties": {"x": {"items": True}}}
    )
    [written] = write_tools([tool], get_dialect("qwen3-coder").tools)
    assert "<items>true</items>" in written.text
