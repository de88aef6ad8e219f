"""Values that a family writes without their types: the tool's schema decides."""

from __future__ import annotations

from typing import Any

import pytest

from codec_agents.dialects.grammars.base import Payload, read_values, schema_types
from codec_agents.dialects.grammars.elements import MARK, read_elements
from codec_agents.dialects.values import Marked
from codec_agents.tools.tool import Tool

ZIP = {"type": "string"}


def tool_of(parameters: dict[str, Any]) -> Tool:
    return Tool(name="t", description="", parameters=parameters, call=dict, is_async=False, validate=dict)


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"zip": ZIP}},
        {"properties": {"zip": {"$ref": "#/definitions/Zip"}}, "definitions": {"Zip": ZIP}},
        {"properties": {"zip": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/B"}, "B": ZIP}},
        {"properties": {"zip": {"$ref": "#/$defs/a~1b%20c"}}, "$defs": {"a/b c": ZIP}},
        {
            "properties": {"zip": {"allOf": [{"description": "a code"}, {"$ref": "#/$defs/Z"}]}},
            "$defs": {"Z": ZIP},
        },
        {"properties": {"zip": {"type": ["string", "integer"]}}},
        {"properties": {"zip": {"anyOf": [{"type": "integer"}, ZIP]}}},
        {"properties": {"zip": {"enum": ["10001", "10002"]}}},
        {"allOf": [{"$ref": "#/$defs/Base"}], "$defs": {"Base": {"properties": {"zip": ZIP}}}},
        {"$ref": "#/$defs/Base", "$defs": {"Base": {"properties": {"zip": ZIP}}}},
        {"additionalProperties": ZIP},
        {
            "properties": {"other": {"type": "integer"}},
            "additionalProperties": {"$ref": "#/$defs/Z"},
            "$defs": {"Z": ZIP},
        },
    ],
)
def test_a_string_stays_a_string(parameters: dict[str, Any]) -> None:
    tools = {"t": tool_of({"type": "object", **parameters})}
    assert read_values("t", [("zip", "10001")], tools) == {"zip": "10001"}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, " 3 ", 3),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", None),
        ({"type": ["string", "null"], "enum": ["a", None]}, "null", None),
        ({"type": "string", "nullable": True}, "null", None),
        ({"type": "string", "nullable": True}, "none", "none"),
        ({"type": "array", "items": ZIP}, '["1"]', ["1"]),
        ({"allOf": [{"type": "boolean"}]}, "True", True),
        ({}, "3", 3),
        (True, "3", 3),
        ({"$ref": "https://elsewhere/zip"}, "x", "x"),
    ],
)
def test_other_values_are_read(schema: Any, text: str, value: Any) -> None:
    assert read_values("t", [("key", text)], {"t": tool_of({"properties": {"key": schema}})}) == {
        "key": value
    }


def test_references_in_a_circle_say_nothing() -> None:
    root = {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}}}
    assert schema_types({"$ref": "#/$defs/A"}, root) == set()
    assert schema_types({"anyOf": [{"$ref": "#/$defs/A"}, ZIP]}, root) == {"string"}


@pytest.mark.parametrize("word", ["type", "enum", "allOf", "anyOf", "oneOf"])
@pytest.mark.parametrize("malformed", [5, None, {"string": 1}, [["string"]], [None]])
def test_a_malformed_schema_ends_no_run(word: str, malformed: Any) -> None:
    tools = {"t": tool_of({"properties": {"n": {word: malformed}}, word: malformed})}
    assert read_values("t", [("n", "3")], tools) == {"n": 3}


@pytest.mark.parametrize(
    ("schema", "element", "value"),
    [
        ({"$ref": "#/$defs/Zip"}, "10001", "10001"),
        ({"$ref": "#/$defs/Place"}, "|<zip>10001|</zip>", {"zip": "10001"}),
        ({"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]}, "|<zip>10001|</zip>", {"zip": "10001"}),
        ({"type": "array", "items": {"$ref": "#/$defs/Zip"}}, "|<item>10001|</item>", ["10001"]),
        ({"anyOf": [{"$ref": "#/$defs/Zips"}, {"type": "null"}]}, "|<item>10001|</item>", ["10001"]),
        ({"type": ["array", "null"], "items": ZIP}, "|<item>1|</item>|<item>2|</item>", ["1", "2"]),
        ({"type": ["array", "object"], "items": ZIP}, "|<item>1|</item>", ["1"]),
        ({"type": ["array", "object"], "properties": {"item": {}}}, "|<item>1|</item>", {"item": 1}),
        (
            {"type": ["array", "object"], "properties": {"item": {}}},
            "|<item>1|</item>|<item>2|</item>",
            [1, 2],
        ),
        ({"$ref": "#/$defs/Zips"}, "|<item>10001|</item>", ["10001"]),
        ({"additionalProperties": {"$ref": "#/$defs/Zip"}}, "|<a>10001|</a>", {"a": "10001"}),
        (True, "|<item>3|</item>", [3]),
        (True, "|<a>3|</a>", {"a": 3}),
    ],
)
def test_nested_elements_are_read_by_the_schema_that_a_reference_leads_to(
    schema: Any, element: str, value: Any
) -> None:
    named = {
        "Zip": ZIP,
        "Place": {"type": "object", "properties": {"zip": {"$ref": "#/$defs/Zip"}}},
        "Zips": {"type": "array", "items": {"$ref": "#/$defs/Zip"}},
    }
    tools = {"t": tool_of({"type": "object", "properties": {"key": schema}, "$defs": named})}
    first, *others = f'<tool_call>|<invoke name="t">|<key>{element}|</key>|</invoke>|</tool_call>'.split("|")
    segments = [first, *(part for text in others for part in (Marked(MARK), text))]
    [call] = read_elements(Payload(segments, tools))
    assert call.arguments == {"key": value}
