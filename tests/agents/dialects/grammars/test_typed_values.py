"""Values that a family writes without their types: the tool's schema decides."""

from __future__ import annotations

from typing import Any

import pytest

from codec_agents.dialects.grammars.base import read_values, schema_types
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
