"""Payloads that are no whole call, or not one of JSON's values, or costly to read: no call runs from them."""

from __future__ import annotations

import ast
import random
import warnings
from dataclasses import replace
from typing import Any

import pytest

from codec_agents.dialects.grammars import GRAMMARS, Payload, PayloadError
from codec_agents.dialects.grammars.base import schema_types, typed_value
from codec_agents.dialects.pieces import Literal, Marker, parse_pieces
from codec_agents.dialects.values import Marked, Segment
from codec_agents.tools.tool import tool
from tests.limits import within

MARKERS = [
    "[ARGS]",
    "[CALL_ID]",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<tool_call:opensource>",
    "</tool_call:opensource>",
    "<tool_sep:opensource>",
    "<|open|>",
    "<|close|>",
    "<|sep|>",
    "]<]minimax[>[",
]
DEEPSEEK = "<｜tool▁call▁begin｜>{}<｜tool▁call▁end｜>"
KIMI = "<|tool_call_begin|>{}<|tool_call_end|>"
HUNYUAN = "<tool_call:opensource>{}</tool_call:opensource>"
KIMI_3 = '<|open|>call tool="f"<|sep|>{}<|close|>call<|sep|>'
ARGUMENT = '<|open|>argument key="a" type="number"<|sep|>1<|close|>argument<|sep|>'
M = "]<]minimax[>["
MINIMAX = f'<tool_call>{M}<invoke name="f">{{}}{M}</invoke>{M}</tool_call>'


def payload_of(text: str) -> Payload:
    segments: list[Segment] = []
    for piece in parse_pieces(text, MARKERS):
        assert isinstance(piece, Marker | Literal)
        segments.append(Marked(piece.name) if isinstance(piece, Marker) else piece.text)
    return Payload(segments)


def runs(grammar: str, text: str) -> list[Any]:
    """Return the arguments of the calls that would run."""
    try:
        calls = GRAMMARS[grammar](payload_of(text))
    except PayloadError:
        return []
    return [call.arguments for call in calls if call.closed and call.error is None]


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("mistral", 'f[ARGS]{"a": 1}'),
        ("deepseek", DEEPSEEK.format('f<｜tool▁sep｜>{"a": 1}')),
        ("deepseek", DEEPSEEK.format('function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```')),
        ("kimi", KIMI.format('functions.f:0<|tool_call_argument_begin|>{"a": 1}')),
        ("channels", KIMI_3.format(ARGUMENT)),
        ("elements", MINIMAX.format(f"\n{M}<a>1{M}</a>\n")),
        ("llama", "[f(a=1)]"),
        ("json", '{"name": "f", "arguments": {"a": 1}}'),
        ("json", '{"name": "f", "tool_name": "f", "parameters": {"a": 1}, "arguments": {"a": 1}}'),
        ("json", '{"type": "function", "id": "1", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}'),
        ("json", '{"name": "f", "arguments": {"a": 1}, "id": ["x"]}'),
        ("keyed-json", '[{"f": {"a": 1}}]'),
    ],
)
def test_whole_calls_run(grammar: str, text: str) -> None:
    assert runs(grammar, text) == [{"a": 1}]


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("mistral", 'f[ARGS]{"a": 1}[ARGS]{"a": 2}'),
        ("deepseek", DEEPSEEK.format('f<｜tool▁sep｜>{"a": 1}<｜tool▁sep｜>{"a": 2}')),
        ("kimi", KIMI.format("f:0" + '<|tool_call_argument_begin|>{"a": 1}' * 2)),
        ("hunyuan", HUNYUAN.format("f" + "<tool_sep:opensource>" * 2)),
        ("hunyuan", HUNYUAN.format("f<tool_sep:opensource>a=1")),
        ("channels", KIMI_3.format(ARGUMENT * 2)),
        ("channels", KIMI_3.replace('tool="f"', 'tool="f" tool="g"').format(ARGUMENT)),
        ("channels", KIMI_3.format(ARGUMENT.replace('key="a"', 'key="a" key="b"'))),
        ("channels", KIMI_3.format("<|open|>argument<|sep|>1<|close|>argument<|sep|>")),
        ("channels", KIMI_3.format(f"{ARGUMENT} and so on")),
        ("channels", KIMI_3.format("") + ARGUMENT),
        ("elements", MINIMAX.format(f"{M}<a>1{M}</a>" * 2)),
        ("elements", MINIMAX.format(f"{M}<a>1{M}</a> and so on")),
        ("elements", MINIMAX.format(f"{M}<a>x{M}<b>1{M}</b>{M}</a>")),
        ("llama", "[f(a=1, a=2)]"),
        ("llama", "[f(a={'b': 1, 'b': 2})]"),
        ("json", '{"name": "f", "arguments": {"a": 1, "a": 2}}'),
        ("json", '{"name": "f", "arguments": "{\\"a\\": 1, \\"a\\": 2}"}'),
        ("json", '{"name": "f", "tool_name": "g", "arguments": {"a": 1}}'),
        ("json", '{"name": "f", "arguments": {"a": 1}, "parameters": {"a": 2}}'),
        ("json", '{"name": "f", "arguments": {"a": 1}, "parameters": {"a": true}}'),
        ("json", '{"name": "f", "function": {"name": "g", "arguments": {"a": 1}}}'),
        ("json", '{"arguments": {"a": 1}, "function": {"name": "f", "arguments": {"a": 2}}}'),
        ("json", '{"name": "f", "arguments": {"a": 1}, "parameters": {"a": %s}}' % ("[" * 980 + "]" * 980)),
        ("keyed-json", '[{"f": {"a": 1, "a": 2}}]'),
        ("keyed-json", '[{"f": {"a": 1}, "f": {"a": 2}}]'),
        ("keyed-json", '[{"f": {"a": 1}, "g": {"a": 2}}]'),
        ("keyed-json", '[{"f": {"a": 1}}, {}]'),
        ("keyed-json", '[{"f": 1}]'),
        ("keyed-json", '[{"f": {"a": 1}}'),
        ("keyed-json", '[{"f": {"a": 1}}] and so on'),
    ],
)
def test_calls_that_say_a_thing_twice_or_say_more_than_is_read_do_not_run(grammar: str, text: str) -> None:
    assert runs(grammar, text) == []


@pytest.mark.parametrize("literal", ["b'x'", "{1, 2}", "1+2j", "...", "{1: 2}", "[b'x']", "{**x}"])
def test_python_values_that_json_does_not_have_are_no_arguments(literal: str) -> None:
    assert runs("llama", f"[f(a={literal})]") == []
    for schema in (None, {"type": "number"}):
        assert typed_value(literal, schema, {}) == literal


@pytest.mark.parametrize("value", ["f'x'", "g(1)", "a.b", "[x]", "1 + y"])
def test_an_expression_has_the_same_error_each_time(value: str) -> None:
    """It is told to the model, so that a replay depends on it: it holds no address of an object."""
    with pytest.raises(PayloadError, match=r"JSON has too: a name, a call or another expression is none$"):
        GRAMMARS["llama"](payload_of(f"[f(a={value})]"))


def test_python_values_that_json_has_are_read_as_those_of_json() -> None:
    assert runs("llama", "[f(a=(1, [None, null]), b={'c': -1.5, 'd': true}, e='x' 'y')]") == [
        {"a": [1, [None, None]], "b": {"c": -1.5, "d": True}, "e": "xy"}
    ]
    assert typed_value("(1, {'a': True})", {"type": "array"}, {}) == [1, {"a": True}]


@pytest.mark.parametrize("digits", ["0x" + "f" * 4000, "0b" + "1" * 20_000, "9" * 400])
def test_whole_numbers_that_cannot_be_written_are_no_values(digits: str) -> None:
    assert runs("llama", f"[f(a={digits})]") == []
    assert runs("llama", f"[f(a=[{digits}])]") == []
    # A value without a type of its own stays the text that it is.
    assert typed_value(f"({digits},)", {"type": "array"}, {}) == f"({digits},)"
    assert runs("llama", "[f(a=0xff)]") == [{"a": 255}]


def test_names_in_triple_quotes_are_text() -> None:
    assert runs("llama", "[f(a='''it's a-b(''', b='\\'x-y(')]") == [{"a": "it's a-b(", "b": "'x-y("}]


def test_long_chains_of_names_are_read() -> None:
    [call] = GRAMMARS["llama"](payload_of(f"[a{'.b' * 1200}()]"))
    assert call.name == f"a{'.b' * 1200}"


def test_a_place_with_many_digits_in_a_reference_is_none() -> None:
    assert schema_types({"$ref": f"#/anyOf/{'9' * 5000}"}, {"anyOf": [{"type": "string"}]}) == set()


MANY = 60_000


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("json", "```\n" + " " * MANY + "x"),
        ("json", "```\n" + "``` " * (MANY // 4) + "x"),
        ("deepseek", DEEPSEEK.format("f<｜tool▁sep｜>{" + " " * MANY)),
        ("llama", "[f(a='" + "\\'" * (MANY // 2) + ")]"),
        ("llama", "[f(a='''" + "'x'" * (MANY // 3) + ")]"),
        ("channels", "<|open|>call " + "a" * MANY + "<|sep|>"),
    ],
)
def test_payloads_are_read_in_linear_time(grammar: str, text: str) -> None:
    with within(seconds=0.5):
        assert runs(grammar, text) == []


def test_a_long_value_that_is_no_json_is_text_without_a_try_at_python() -> None:
    text = "[" + "1," * 500_000
    with within(seconds=0.5):
        assert typed_value(text, {"type": "array"}, {}) == text


@pytest.mark.parametrize("grammar", ["llama", "python-lines"])
def test_an_error_names_the_tool_that_the_model_wrote(grammar: str) -> None:
    """Python has no names with hyphens; the stand-in that is parsed is in no error."""

    @tool(name="get-weather")
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    payload = replace(payload_of("[get-weather('x', 'y')]"), tools={weather.name: weather})
    with pytest.raises(PayloadError, match="values must be given by name") as raised:
        GRAMMARS[grammar](payload)
    assert raised.value.name == "get-weather"


@pytest.mark.filterwarnings("error")
def test_an_escape_that_python_does_not_know_stands_for_itself() -> None:
    assert runs("llama", r"[find(pattern='\d+')]") == [{"pattern": r"\d+"}]


PIECES = ("'", '"', "\\'", '\\"', "\\\\", "\\d", "\\é", "\\777", "\\n", "\\\n", "#", "r'", "x", " ")


def test_strings_with_any_escapes_are_read_as_python_reads_them(recwarn: pytest.WarningsRecorder) -> None:
    draw = random.Random(5)
    read = 0
    for _ in range(600):
        text = "["
        for _ in range(draw.randint(1, 3)):
            quote = draw.choice(("'", '"', "'''", '"""'))
            content = "".join(draw.choices(PIECES, k=draw.randint(1, 4)))
            text += draw.choice(("", "r", "R", "u", "rb")) + quote + content + quote
            text += draw.choice((",", ",\n", "# it's\n,"))
        text += "]"
        recwarn.clear()
        found = typed_value(text, {"type": "array"}, {})
        assert not recwarn.list, text
        try:
            expected = ast.literal_eval(text)
        except SyntaxError:
            expected = text
        if any(isinstance(each, bytes) for each in expected):
            expected = text
        assert found == expected, text
        read += found != text
    assert read > 100


def test_the_filters_of_warnings_are_left_alone() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(2):
            warnings.warn("once for each place", stacklevel=1)
            assert runs("llama", r"[f(a='\d')]") == [{"a": r"\d"}]
    assert len(seen) == 1
