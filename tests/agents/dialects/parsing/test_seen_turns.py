"""Turns that parsers of inference engines have tests of, because models generate them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from codec_agents.tools.tool import Tool, tool
from tests.agents.dialects.families import weather
from tests.agents.dialects.test_doubtful_turns import Reading, write_file


@tool
def keep(**_values: Any) -> str:
    """Keep values."""
    return ""


def keeping(**properties: Any) -> Tool:
    """Return a tool with parameters of these schemas."""
    return replace(keep, parameters={"type": "object", "properties": properties})


BEGIN, ARGUMENTS, END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
OSLO = f'{BEGIN}functions.weather:0{ARGUMENTS}{{"city": "Oslo"}}{END}'
BERGEN = f'{BEGIN}functions.weather:1{ARGUMENTS}{{"city": "Bergen"}}{END}'
BOTH = [("Oslo", True), ("Bergen", True)]


@pytest.mark.parametrize(
    ("turn", "answer", "reasoning", "calls"),
    [
        (f"</think>Look.{OSLO}{BERGEN}", "Look.", "", BOTH),
        (f"</think>{OSLO}<|tool_calls_section_end|>", "", "", [("Oslo", True)]),
        (f"</think>{OSLO}<|tool_calls_section_begin|>{BERGEN}<|tool_calls_section_end|>", "", "", BOTH),
        (f"I call it {OSLO}", "", "I call it ", [("Oslo", True)]),
        (f"I may {OSLO}</think>Or not.", "Or not.", 'I may functions.weather:0{"city": "Oslo"}', []),
        (f"</think>{OSLO.removesuffix(END)}", "", "", [(None, False)]),
        (f"</think>{OSLO.removesuffix(END)}<|tool_calls_section_end|>", "", "", [(None, False)]),
        (f"</think>{OSLO.removesuffix(END)}{BERGEN}", "", "", [(None, False), (None, False)]),
        (f"</think>{END}Bye.", "Bye.", "", []),
    ],
)
def test_calls_of_kimi_without_the_marks_of_a_section(
    turn: str, answer: str, reasoning: str, calls: list[tuple[str | None, bool]]
) -> None:
    family = Reading("kimi-k2-thinking", [weather])
    found = family.read(
        f"{turn}<|im_end|>", prompt=family.ids("<|im_assistant|>assistant<|im_middle|><think>")
    )
    assert found[:2] == (answer, reasoning)
    assert [(arguments and arguments["city"], closed) for _, arguments, closed in found[2]] == calls


def test_the_line_break_at_the_end_of_a_value_of_seed_oss_is_part_of_it() -> None:
    parameters = "<parameter=path>a.py</parameter>\n<parameter=content>x = 1\n</parameter>\n"
    turn = f"<seed:tool_call>\n<function=write_file>\n{parameters}</function>\n</seed:tool_call><seed:eos>"
    (call,) = Reading("seed-oss", [write_file]).read(turn)[2]
    assert call == ("write_file", {"path": "a.py", "content": "x = 1\n"}, True)


def test_calls_of_phi_4_mini_behind_text() -> None:
    turn = 'Let me see.\nfunctools[{"name": "weather", "arguments": {"city": "Oslo"}}]<|end|>'
    answer, _, calls = Reading("phi4-mini", [weather], bare=True).read(turn)
    assert (answer, calls) == ("Let me see.\n", [("weather", {"city": "Oslo"}, True)])
    both = (
        turn.removesuffix("<|end|>")
        + '\nfunctools[{"name": "weather", "arguments": {"city": "Bergen"}}]<|end|>'
    )
    assert [call[1] for call in Reading("phi4-mini", [weather], bare=True).read(both)[2]] == [
        {"city": "Oslo"},
        {"city": "Bergen"},
    ]
    prose = "Write functools[...] to call.<|end|>"
    assert Reading("phi4-mini", [weather], bare=True).read(prose) == (prose.removesuffix("<|end|>"), "", [])


@pytest.mark.parametrize("name", ["gemma-4", "gemma-4-e"])
def test_calls_of_gemma_without_their_first_word(name: str) -> None:
    turn = '<|tool_call>:weather{city:<|"|>Oslo<|"|>}<tool_call|><turn|>'
    assert Reading(name, [weather]).read(turn)[2] == [("weather", {"city": "Oslo"}, True)]


@pytest.mark.parametrize(
    ("schema", "written", "read"),
    [
        ({"type": "integer"}, '"true">42', 42),
        ({"type": "object"}, '"true">{"a": 1}', {"a": 1}),
        ({"type": "string"}, '"false">hello', "hello"),
        ({"type": "string"}, '"false">"hello"', "hello"),
        ({"type": "string"}, '"false">"a" and "b"', '"a" and "b"'),
        ({"type": "string"}, '"true">"hello"', '"hello"'),
        ({"type": ["string", "null"]}, '"false">"null"', "null"),
        ({"type": "string"}, '"false">null', "null"),
        ({"type": ["string", "null"]}, '"false">null', None),
        ({"type": ["string", "integer"]}, '"false">42', 42),
        ({"type": ["string", "integer"]}, '"true">42', "42"),
        ({}, '"false">42', 42),
        ({}, '"true">42', "42"),
    ],
)
@pytest.mark.parametrize(
    ("name", "block"), [("deepseek-v3.2", "function_calls"), ("deepseek-v4", "tool_calls")]
)
def test_the_declared_type_decides_over_that_which_a_call_of_deepseek_states(
    name: str, block: str, schema: dict[str, Any], written: str, read: Any
) -> None:
    mark = "｜DSML｜"
    value = f'<{mark}parameter name="value" string={written}</{mark}parameter>'
    call = f'<{mark}{block}>\n<{mark}invoke name="keep">\n{value}\n</{mark}invoke>\n</{mark}{block}>'
    (found,) = Reading(name, [keeping(value=schema)]).read(f"{call}<｜end▁of▁sentence｜>")[2]
    assert found == ("keep", {"value": read}, True)


DSML = "｜DSML｜"
ASKED = (
    f'<{DSML}invoke name="weather">\n<{DSML}parameter name="city" string="true">Oslo</{DSML}parameter>\n'
    f"</{DSML}invoke>"
)
BLOCK = f"<{DSML}calls>\n{ASKED}\n</{DSML}calls>"
STOP = "<｜end▁of▁sentence｜>"


@pytest.mark.parametrize(
    ("name", "block"), [("deepseek-v3.2", "function_calls"), ("deepseek-v4", "tool_calls")]
)
@pytest.mark.parametrize("bare", [False, True], ids=["all", "bare"])
@pytest.mark.parametrize(
    ("turn", "finish", "answer", "reasoning", "calls"),
    [
        (f"I look.\n\n{BLOCK}{STOP}", "stop", "", "I look.\n\n", [True]),
        (f"I look.\n\n{BLOCK}\n{BLOCK}{STOP}", "stop", "", "I look.\n\n\n", [True, True]),
        (f"I may {BLOCK} or not.</think>No.{STOP}", "stop", "No.", f"I may {BLOCK} or not.", []),
        (f"I may {BLOCK}{BLOCK}</think>{BLOCK}{STOP}", "stop", "", f"I may {BLOCK}{BLOCK}", [True]),
        (f"I may <{DSML}calls>\n</think>No.{STOP}", "stop", "No.", f"I may <{DSML}calls>\n", []),
        (f"I look.\n\n<{DSML}calls>\n{ASKED}{STOP}", "stop", "", "I look.\n\n", [False]),
        (f"I may {BLOCK} or", "length", "", f"I may {BLOCK} or", []),
        (f"A tag is <calls>.{STOP}", "stop", "", "A tag is <calls>.", []),
    ],
)
def test_calls_of_deepseek_in_reasoning_that_nothing_closes(
    turn: str, finish: str, answer: str, reasoning: str, calls: list[bool], bare: bool, name: str, block: str
) -> None:
    family = Reading(name, [weather], bare=bare)
    prompt = family.ids("<｜User｜>Hi<｜Assistant｜><think>")
    found = family.read(turn.replace("calls>", f"{block}>"), finish, prompt)
    said = reasoning.replace("calls>", f"{block}>")
    # As a control token, the mark is no text.
    assert found[:2] == (answer, said if bare and name == "deepseek-v3.2" else said.replace(DSML, ""))
    assert [closed for _, _, closed in found[2]] == calls


ITEM, OTHER = "]<]minimax[>[<item>a]<]minimax[>[</item>", "]<]minimax[>[<item>b]<]minimax[>[</item>"
LIST = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("schema", "written", "read"),
    [
        ({"anyOf": [LIST, {"type": "object"}]}, ITEM + OTHER, ["a", "b"]),
        ({"anyOf": [LIST, {"type": "object"}]}, ITEM, ["a"]),
        ({"anyOf": [LIST, {"type": "object", "properties": {"item": {}}}]}, ITEM, {"item": "a"}),
        ({"type": "object"}, ITEM, {"item": "a"}),
    ],
)
def test_items_of_minimax_m3_are_a_list_where_the_schema_lets_them(
    schema: dict[str, Any], written: str, read: Any
) -> None:
    mark = "]<]minimax[>["
    invoke = f'{mark}<invoke name="keep">{mark}<value>{written}{mark}</value>{mark}</invoke>'
    turn = f"{mark}<tool_call>\n{invoke}\n{mark}</tool_call>[e~["
    (found,) = Reading("minimax-m3", [keeping(value=schema)]).read(turn)[2]
    assert found == ("keep", {"value": read}, True)
