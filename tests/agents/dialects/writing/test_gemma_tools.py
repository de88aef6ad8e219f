"""Declarations and calls of the Gemma families, against what their references write."""

from types import SimpleNamespace

import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.dialects.pieces import Marker
from codec_agents.dialects.writing.gemma_tools import function_gemma_tool, gemma_tool
from codec_agents.dialects.writing.literals import NOTATIONS, plain_string, write_value
from codec_agents.graph import Chat
from codec_core.detokenizer import Detokenizer
from tests.agents.dialects.families import small_map_of

GOOGLES_PAGE = (
    "<bos><start_of_turn>developer\n"
    "You are a model that can do function calling with the following functions"
    "<start_function_declaration>declaration:get_current_weather{description:<escape>Gets the current weather"
    " in a given location.<escape>,parameters:{properties:{location:{description:<escape>The city and state, "
    'e.g. "San Francisco, CA" or "Tokyo, JP"<escape>,type:<escape>STRING<escape>},unit:{description:<escape>'
    "The unit to return the temperature in.<escape>,enum:[<escape>celsius<escape>,<escape>fahrenheit<escape>]"
    ",type:<escape>STRING<escape>}},required:[<escape>location<escape>],type:<escape>OBJECT<escape>}}"
    "<end_function_declaration><end_of_turn>\n"
    "<start_of_turn>user\n"
    "Hey, what's the weather in Tokyo right now?<end_of_turn>\n"
    "<start_of_turn>model\n"
)
"""The prompt of "FunctionGemma formatting and best practices" at ai.google.dev, and of its full sequence."""


def test_function_gemma_is_prompted_as_googles_page_shows():
    place = {
        "type": "string",
        "description": 'The city and state, e.g. "San Francisco, CA" or "Tokyo, JP"',
    }
    unit = {
        "enum": ["celsius", "fahrenheit"],
        "type": "string",
        "description": "The unit to return the temperature in.",
    }
    tool = SimpleNamespace(
        name="get_current_weather",
        description="Gets the current weather in a given location.",
        parameters={
            "type": "object",
            "properties": {"unit": unit, "location": place},
            "required": ["location"],
        },
    )
    family = BoundDialect(get_dialect("function-gemma"), small_map_of("function-gemma"), [tool])
    ids = family.template(Chat(user="Hey, what's the weather in Tokyo right now?")).render({})
    assert Detokenizer(family.vocabulary).render(ids, render_special=True) == GOOGLES_PAGE


NESTED = [
    ({"type": "array", "items": {"type": "string"}}, "{D,items:{type:~STRING~},type:~ARRAY~}"),
    (
        {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        "{D,items:{enum:[~a~,~b~],type:~STRING~},type:~ARRAY~}",
    ),
    (
        {"type": "object", "properties": {"y": {"type": "string"}, "X": {"type": "integer"}}},
        "{D,properties:{X:{D,type:~INTEGER~},y:{D,type:~STRING~}},type:~OBJECT~}",
    ),
    (
        {"type": "object", "properties": {"y": {"type": "string", "enum": ["a"]}}, "required": ["y"]},
        "{D,properties:{y:{D,enum:[~a~],type:~STRING~}},required:[~y~],type:~OBJECT~}",
    ),
    (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]},
        },
        "{D,items:{properties:{y:{D,type:~STRING~}},required:[~y~],type:~OBJECT~},type:~ARRAY~}",
    ),
    (
        {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "{D,items:{items:{~type~:~string~},type:~ARRAY~},type:~ARRAY~}",
    ),
    (
        {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "{D,items:{anyOf:[{~type~:~string~},{~type~:~null~}]},type:~ARRAY~}",
    ),
    ({"type": "array", "items": {}}, "{D,type:~ARRAY~}"),
    # The templates leave these properties out.
    (
        {"type": "object", "properties": {"type": {"type": "string"}}},
        "{D,properties:{type:{D,type:~STRING~}},type:~OBJECT~}",
    ),
]
"""Schemas of a parameter, and how they are declared: `~` is the token around strings, D the description."""


@pytest.mark.parametrize(("schema", "said"), NESTED)
def test_a_declaration_keeps_what_is_nested_in_a_parameter(schema, said):
    parameters = {"type": "object", "properties": {"x": schema}}
    tool = SimpleNamespace(name="f", description="Look.", parameters=parameters)
    expected = f",parameters:{{properties:{{x:{said}}},type:~OBJECT~}}}}"
    gemma, function_gemma = text_of(gemma_tool(tool)), text_of(function_gemma_tool(tool))
    # Only FunctionGemma has a description for each parameter.
    assert expected.replace("D,", "").replace("~", '<|"|>') in gemma
    assert expected.replace("D,", "description:~~,").replace("~", "<escape>") in function_gemma


def test_a_nullable_parameter_of_gemma_4():
    schema = {"type": "string", "nullable": True, "enum": ["a"], "description": "Where."}
    tool = SimpleNamespace(name="f", description="", parameters={"properties": {"x": schema}})
    assert "{x:{description:~Where.~,enum:[~a~],nullable:true,type:~STRING~}}" in text_of(
        gemma_tool(tool)
    ).replace('<|"|>', "~")


@pytest.mark.parametrize("name", ["gemma", "function-gemma"])
def test_arguments_are_sorted_at_every_level_without_regard_to_case(name):
    arguments = {"z": 1, "B": {"y": 2.5, "b": True}, "a": [{"d": 1, "C": 2}]}
    written = write_value(arguments, NOTATIONS[name], plain_string)
    assert text_of(written) == "{a:[{C:2,d:1}],B:{b:true,y:2.5},z:1}"


def text_of(pieces):
    return "".join(piece.name if isinstance(piece, Marker) else piece.text for piece in pieces)
