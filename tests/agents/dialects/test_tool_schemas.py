"""Schemas of tools that are legal and seldom met: every family writes them."""

from types import SimpleNamespace

import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.dialects.registry import dialects
from codec_agents.dialects.writing.apertus_tools import apertus_tool
from codec_agents.dialects.writing.harmony_tools import harmony_tool
from codec_agents.dialects.writing.kimi_tools import kimi_tool
from codec_agents.dialects.writing.tool_forms import write_tools
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
    tool = SimpleNamespace(
        name="look", description="Look.", parameters={"type": "object", "properties": {"x": True}}
    )
    assert "x?: any," in harmony_tool(tool)


@pytest.mark.parametrize(
    ("family", "end"),
    [
        ("qwen3-coder", '<required>["x"]</required>\n<additionalProperties>False</additionalProperties>'),
        ("nemotron-3", '<additionalProperties>False</additionalProperties>\n<required>["x"]</required>'),
    ],
)
def test_what_a_form_repeats_of_a_schema_is_what_the_template_makes_of_it(family, end):
    x = {"items": {"type": "string"}, "default": "a", "nullable": True, "title": "X", "description": " Of. "}
    schema = {"properties": {"x": x}, "required": ["x"], "additionalProperties": False}
    tool = SimpleNamespace(name="look", description="Look.", parameters=schema)
    [written] = write_tools([tool], get_dialect(family).tools)
    said = (
        "<description>Of.</description>\n"
        '<items>{"type": "string"}</items>\n<default>a</default>\n<nullable>True</nullable>\n<title>X</title>'
    )
    assert written.text.endswith(
        f"<parameter>\n<name>x</name>\n{said}\n</parameter>\n{end}\n</parameters>\n</function>"
    )


def test_several_types_of_a_parameter_are_written_as_the_template_does():
    parameters = {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}
    tool = SimpleNamespace(name="look", description="Look.", parameters=parameters)
    assert "x?: string | null," in harmony_tool(tool)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "enum": ["a", 'b"'], "default": "a"}, 'x?: "a" | "b"", // default: a'),
        ({"type": "integer", "enum": [1, 2], "default": 1}, "x?: number, // default: 1"),
        ({"type": "string", "nullable": True, "description": "Where."}, "// Where.\nx?: string | null"),
        ({"type": ["string", "null"]}, "x?: string | null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "x?: any"),
        (
            {"oneOf": [{"type": "string", "description": "s"}, {"type": "integer"}], "default": "q"},
            "x?: string// s | \nnumber// default: q",
        ),
        ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, "x?: string[]"),
        ({"type": "array"}, "x?: any[]"),
        ({"type": "array", "items": {"type": "object"}, "nullable": True}, "x?: object[] | null"),
        (
            {"type": "object", "properties": {"y": {"type": "string"}, "z": True}, "required": ["y"]},
            "x?: {\ny: \n                string, z?: \n                any}",
        ),
    ],
)
def test_apertus_is_told_types_as_its_template_tells_them(schema, said):
    """What its template, Apertus-8B-Instruct.jinja, writes."""
    tool = SimpleNamespace(name="look", description="Look.", parameters={"properties": {"x": schema}})
    assert apertus_tool(tool) == f"// Look.\ntype look = (_: {{\n{said}\n}}) => any;"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "enum": ["a", 'b"'], "default": "a"}, 'x?: "a" | "b"", // default: a'),
        ({"type": "integer", "enum": [1, 2], "default": 1e16}, "x?: number, // default: 1e16"),
        (
            {"type": "string", "title": "T", "examples": ["e", 1]},
            '// T\n//\n// Examples:\n// - "e"\nx?: string,',
        ),
        ({"type": "array", "items": {"type": "string"}, "nullable": True}, "x?: string[] | null,"),
        ({"type": "array"}, "x?: Array<any>,"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "x?: any,"),
        (
            {
                "type": "object",
                "description": "d",
                "properties": {"y": {"type": "object"}},
                "required": ["y"],
            },
            "// d\nx?:     // d\n{\n    y: {\n        },\n    },",
        ),
        (
            {
                "oneOf": [{"type": "string", "description": "s"}, {"type": "integer", "default": 4}],
                "default": "q",
            },
            '// default: "q"\nx?:\n | string // s\n | number // default: 4\n,',
        ),
        (
            {"type": "array", "items": {"oneOf": [{"type": "string", "enum": ["a"], "default": "a"}]}},
            'x?: \n     | "a" // default: "a"[],',
        ),
    ],
)
def test_gpt_oss_is_told_types_as_its_package_tells_them(schema, said):
    """What `openai-harmony` 0.0.8 writes."""
    parameters = {"type": "object", "properties": {"x": schema}}
    tool = SimpleNamespace(name="look", description="Look.", parameters=parameters)
    assert harmony_tool(tool) == f"// Look.\ntype look = (_: {{\n{said}\n}}) => any;"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "// Look.\ntype look = (_: {}) => any;"),
        (
            {"type": "object", "additionalProperties": False},
            "// Look.\ntype look = (_: {\n  [k: string]: never\n}) => any;",
        ),
        (
            {
                "properties": {"x": {"$ref": "#/$defs/A", "description": "d"}},
                "$defs": {"A": {"enum": ['b"', 1]}},
            },
            'interface A "b"" | 1\n// Look.\ntype look = (_: {\n  // d\n  x?: A\n}) => any;',
        ),
        (
            {"properties": {"x": {"$ref": "#"}}},
            "interface parameters {\n  x?: parameters\n}\n// Look.\ntype look = (_: parameters) => any;",
        ),
        (
            {"properties": {"x": {"type": "array", "items": {"type": "string", "maxLength": 2}}}},
            "// Look.\ntype look = (_: {\n  x?: Array<\n    // maxLength: 2\n    string\n  >\n}) => any;",
        ),
    ],
)
def test_kimi_is_told_types_as_its_renderer_tells_them(parameters, said):
    tool = SimpleNamespace(name="look", description="Look.", parameters=parameters)
    assert kimi_tool(tool) == said
