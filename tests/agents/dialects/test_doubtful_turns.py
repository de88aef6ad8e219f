"""Turns that name marks, leave them out, or put them where they do not belong: read in every cut alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from codec_agents.dialects import BoundDialect, CallRegion, PortIds, get_dialect
from codec_agents.dialects.pieces import Literal, Marker, parse_pieces
from codec_agents.tools.tool import Tool, tool
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import random_cuts, small_map, weather


@tool
def write_file(path: str, content: str) -> str:
    """Write a file."""
    return f"{path}: {len(content)}"


Found = tuple[str, str, list[tuple[str, Any, bool]]]
"""The answer, the reasoning, and the calls: name, arguments or None, and whether it is closed and right."""


class Reading:
    """One family in a small vocabulary; reads turns whole, id by id, and cut at random."""

    def __init__(self, name: str, tools: Sequence[Tool] = (), *, bare: bool = False) -> None:
        dialect = get_dialect(name)
        self._map = small_map(list(dialect.markers if bare else dialect.all_markers()))
        self._bound = BoundDialect(dialect, self._map, tools)
        self._markers = [name for name in dialect.all_markers() if name in (self._map.special_tokens or {})]

    def ids(self, text: str) -> list[int]:
        encode, special = pick_tokenizer(self._map).encode_ordinary, vocabulary_of(self._map).special_tokens
        ids: list[int] = []
        for piece in parse_pieces(text, self._markers):
            assert isinstance(piece, Marker | Literal)
            ids += [special[piece.name]] if isinstance(piece, Marker) else encode(piece.text)
        return ids

    def read(self, text: str, finish: str = "stop", prompt: Sequence[int] = ()) -> Found:
        ids = self.ids(text)
        draw = random.Random(text)
        whole = self._read(ids, [], finish, prompt)
        for cuts in (list(range(1, len(ids))), *(random_cuts(len(ids), draw) for _ in range(20))):
            assert self._read(ids, cuts, finish, prompt) == whole
        return whole

    def _read(self, ids: list[int], cuts: list[int], finish: str, prompt: Sequence[int]) -> Found:
        reader = self._bound.reader(prompt)
        events = []
        for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
            events += reader.feed(ids[begin:end])
        events += reader.flush(finish)
        ports: dict[str, list[int]] = {"answer": [], "reasoning": []}
        calls: list[tuple[str, Any, bool]] = []
        for event in events:
            if isinstance(event, PortIds):
                ports[event.port] += event.ids
                continue
            assert isinstance(event, CallRegion)
            for call in self._bound.parse_calls(event):
                runs = call.closed and call.error is None
                calls.append((call.name, call.arguments if runs else None, runs))
        answer, reasoning = (detokenize(self._map, ports[port]) for port in ("answer", "reasoning"))
        return answer, reasoning, calls


MENTIONS = [
    "The tag `<tool_call>` opens a call. It needs JSON.",
    "Use <tool_call> and </tool_call>. Bye.",
    "<tool_call>",
    "a <tool_call> <tool_call> b </tool_call>",
]


@pytest.mark.parametrize("tools", [(), (weather,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("text", MENTIONS)
def test_an_answer_that_names_a_mark_stays_an_answer(text: str, tools: Sequence[Tool]) -> None:
    assert Reading("hermes", tools, bare=True).read(f"{text}<|im_end|>") == (text, "", [])


CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


def test_without_tools_no_text_is_a_call() -> None:
    assert Reading("hermes", bare=True).read(f"{CALL}<|im_end|>") == (CALL, "", [])


def test_a_call_behind_a_mention_is_found() -> None:
    answer, _, calls = Reading("hermes", [weather], bare=True).read(f"Use <tool_call>: {CALL}!<|im_end|>")
    assert (answer, calls) == ("Use <tool_call>: !", [("weather", {"city": "Oslo"}, True)])


def test_a_broken_call_in_text_is_told_to_the_model() -> None:
    turn = '<tool_call>{"name": "weather", "arguments": {"city": Oslo}}</tool_call><|im_end|>'
    assert Reading("hermes", [weather], bare=True).read(turn)[2] == [("weather", None, False)]


@pytest.mark.parametrize(
    "text",
    [
        "Use <function=name> to call.",
        "x =<function=y></function>.",
        "三<function=weather is how it begins",
        "<function=<function=weather",
    ],
)
def test_text_behind_a_mark_is_whole_and_once(text: str) -> None:
    """A token is shared between the text and the mark there."""
    assert Reading("qwen3-coder", [weather]).read(f"{text}<|im_end|>") == (text, "", [])


@pytest.mark.parametrize(
    "text",
    [
        "In docs, <function_calls> opens and </function_calls> closes; see weather.",
        "Use `<function_calls>weather` like so.",
        "<function_calls>",
        "<function_calls>weather",
        "<function_calls></function_calls>",
    ],
)
def test_text_behind_a_mark_that_is_no_call_of_python_is_an_answer(text: str) -> None:
    assert Reading("olmo-3", [weather]).read(f"{text}<|im_end|>") == (text, "", [])


@pytest.mark.parametrize("recipient", ["all", "user", "assistant"])
def test_a_message_to_a_role_is_no_call(recipient: str) -> None:
    turn = f"<|channel|>final to={recipient}<|message|>Hi.<|return|>"
    assert Reading("harmony", [weather]).read(turn) == ("Hi.", "", [])


ADDRESSED = [
    " to=functions.weather<|channel|>commentary json",
    " to=functions.weather<|channel|>commentary <|constrain|>json",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.weather<|channel|>commentary",
    "<|channel|>commentary to=functions.weather<|constrain|>json",
    "<|channel|>commentary to=functions.weather <|constrain|>json",
    "<|channel|>commentary to=functions.weather json",
    "<|channel|>commentary to=functions.weather",
    "<|channel|>analysis to=functions.weather",
    " to=functions.weather<|channel|>analysis<|constrain|>json",
    "<|channel|>commentary to= functions.weather",
]


@pytest.mark.parametrize("header", ADDRESSED)
def test_a_recipient_may_be_anywhere_in_a_header(header: str) -> None:
    """The control tokens of a header divide its words, as white space does."""
    family = Reading("harmony", [weather])
    turn = f'{header}<|message|>{{"city": "Oslo"}}<|call|>'
    found = family.read(turn, prompt=family.ids("<|start|>assistant"))
    assert found == ("", "hm" if "hm" in header else "", [("weather", {"city": "Oslo"}, True)])


def tagged(*lines: str) -> str:
    return "\n".join(("<tool_call>", *lines, "</tool_call><|im_end|>"))


def test_a_value_whose_closing_tag_was_dropped_ends_at_the_next_tag() -> None:
    turn = tagged(
        "<function=weather>",
        "<parameter=city>",
        "Oslo",
        "<parameter=days>",
        "3",
        "</parameter>",
        "</function>",
    )
    _, _, calls = Reading("qwen3-coder", [weather]).read(turn)
    assert calls == [("weather", {"city": "Oslo", "days": 3}, True)]


VALUES_IN_TAGS = {
    "qwen3-coder": ("<parameter={key}>\n{value}\n", "</parameter>\n", "</function>\n</tool_call><|im_end|>"),
    "mimo-v2.6": ("<parameter={key}>{value}", "</parameter>\n", "</function>\n</tool_call><|im_end|>"),
    "laguna-xs.2": (
        "<arg_key>{key}</arg_key>\n<arg_value>{value}",
        "</arg_value>\n",
        "</tool_call>\n</assistant>",
    ),
}
HEADS = {"laguna-xs.2": "<tool_call>{name}\n"}


def in_tags(family: str, name: str, *values: tuple[str, str], drop: str = "") -> str:
    """Return a call in a family's form; without the closing tag of its first value, or an opening one."""
    opened, closed, end = VALUES_IN_TAGS[family]
    turn = HEADS.get(family, "<tool_call>\n<function={name}>\n").replace("{name}", name)
    for number, (key, value) in enumerate(values):
        before, _, after = opened.partition("{value}")
        turn += "" if number == 1 and drop == "opening" else before.replace("{key}", key)
        turn += value + after
        turn += "\n" if number == 0 and drop == "closing" else closed
    return turn + end


@pytest.mark.parametrize("family", VALUES_IN_TAGS)
def test_the_line_break_before_a_tag_is_no_part_of_a_value_whose_closing_tag_was_dropped(family: str) -> None:
    turn = in_tags(family, "write_file", ("path", "a.py"), ("content", "x"), drop="closing")
    assert Reading(family, [write_file]).read(turn)[2] == [
        ("write_file", {"path": "a.py", "content": "x"}, True)
    ]


@pytest.mark.parametrize("family", VALUES_IN_TAGS)
def test_a_value_that_may_hold_another_parameter_is_not_run(family: str) -> None:
    turn = in_tags(family, "weather", ("city", "Oslo"), ("days", "3"), drop="opening")
    assert not any(runs for _, _, runs in Reading(family, [weather]).read(turn)[2])
    whole = in_tags(family, "weather", ("city", "Oslo</parameter>\n"), ("days", "3"))
    assert all(runs for _, _, runs in Reading(family, [weather]).read(whole)[2])  # nothing is missing


def test_arguments_that_were_cut_off_whole_are_not_none() -> None:
    assert Reading("mistral-v11", [weather]).read("[TOOL_CALLS]weather[ARGS]</s>")[2] == [
        ("weather", None, False)
    ]
    assert Reading("mistral-v11", [weather]).read("[TOOL_CALLS]weather[ARGS]{}</s>")[2] == [
        ("weather", {}, True)
    ]


def test_a_value_may_hold_tags() -> None:
    """One that is no parameter of the tool, or is in the middle of a line, or is given already."""
    content = "<parameter=other>\nsee <parameter=path>\n</parameter> and\n<parameter=path>"
    turn = tagged(
        "<function=write_file>",
        "<parameter=path>",
        "a",
        "</parameter>",
        f"<parameter=content>\n{content}\n</parameter>",
        "</function>",
    )
    _, _, calls = Reading("qwen3-coder", [write_file]).read(turn)
    assert calls == [("write_file", {"path": "a", "content": content}, True)]


@pytest.mark.parametrize(
    "content",
    [
        "ends with </tool_call> here.\n</parameter>\n</function>",
        "is cut",
        "</tool_call>",
        "a\n<tool_call>\nb",
    ],
)
def test_a_write_whose_end_is_in_doubt_is_not_run(content: str) -> None:
    turn = tagged(
        "<function=write_file>", "<parameter=path>", "a", "</parameter>", "<parameter=content>", content
    )
    _, _, calls = Reading("qwen3-coder", [write_file]).read(turn)
    assert calls[0][0] in ("write_file", "")
    assert not any(runs for _, _, runs in calls)


GLM_WRITE = (
    "<tool_call>write_file\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n"
    "<arg_key>content</arg_key>\n<arg_value>"
)


@pytest.mark.parametrize(
    "content",
    [
        "Say <tool_call>weather</tool_call> to call.</arg_value>\n</tool_call>",
        "Say <tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
        "cut</tool_call>",
        "a</arg_value> b</tool_call>",
    ],
)
def test_a_mark_inside_a_value_makes_no_second_call(content: str) -> None:
    _, _, calls = Reading("glm-4.5", [weather, write_file]).read(f"{GLM_WRITE}{content}<|observation|>")
    assert calls
    assert not any(runs for _, _, runs in calls)


def test_a_dropped_closing_marker_ends_with_the_next_key() -> None:
    turn = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo<arg_key>days</arg_key>"
    turn += "<arg_value>3</arg_value></tool_call><|observation|>"
    _, _, calls = Reading("glm-4.5", [weather]).read(turn)
    assert calls == [("weather", {"city": "Oslo", "days": 3}, True)]


def test_a_list_may_stand_among_white_space() -> None:
    turn = '[TOOL_CALLS] [ \n {"name": "weather", "arguments": {"city": "Oslo"}} ] </s>'
    assert Reading("mistral-v7", [weather]).read(turn)[2] == [("weather", {"city": "Oslo"}, True)]


@pytest.mark.parametrize("name", ["get-weather", "maps.get-weather", "a.b", "x-1-y"])
def test_names_with_hyphens_and_dots_may_be_called_as_in_python(name: str) -> None:
    tools = [weather.renamed(name)]
    turn = f'[{name}(city="it-is(x-y(", days=3), {name}(city="b")]<|eot_id|>'
    calls = Reading("llama3-pythonic", tools).read(turn)[2]
    assert calls == [(name, {"city": "it-is(x-y(", "days": 3}, True), (name, {"city": "b"}, True)]


JSON_CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'


FENCED = {
    "granite-3": '<|tool_call|>```json\n[{"name": "weather", "arguments": {"city": "Oslo"}}]\n```',
    "llama3": '<|python_tag|>```json\n{"name": "weather", "parameters": {"city": "Oslo"}}\n```<|eot_id|>',
    "lfm2.5": "<|tool_call_start|>```python\n[weather(city='Oslo')]\n```<|tool_call_end|><|im_end|>",
    "mistral-v3": '[TOOL_CALLS] ```json\n[{"name": "weather", "arguments": {"city": "Oslo"}}]\n```</s>',
    "mistral-v13": '[TOOL_CALLS]weather[ARGS]```json\n{"city": "Oslo"}\n```</s>',
    "deepseek-v3.1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>```json\n"
        '{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
    ),
    "harmony": '<|channel|>commentary to=functions.weather<|message|>```json\n{"city": "Oslo"}\n```<|call|>',
    "inkling": (
        '<|content_invoke_tool_json|>```\n{"name": "weather", "args": {"city": "Oslo"}}```<|end_message|>'
    ),
}


@pytest.mark.parametrize("family", FENCED)
def test_a_code_fence_between_marks_is_taken_off_in_every_form_of_calls(family: str) -> None:
    assert Reading(family, [weather]).read(FENCED[family])[2] == [("weather", {"city": "Oslo"}, True)]


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "\n```\n{}```\n", "  ```json \n{}\n```"])
def test_a_code_fence_between_the_marks_of_a_call_is_taken_off(fence: str) -> None:
    turn = f"<tool_call>{fence.replace('{}', JSON_CALL)}</tool_call><|im_end|>"
    assert Reading("hermes", [weather]).read(turn)[2] == [("weather", {"city": "Oslo"}, True)]


def test_prose_behind_the_json_of_a_marked_call_is_told_to_the_model() -> None:
    turn = f"<tool_call>{JSON_CALL} and so on</tool_call><|im_end|>"
    assert Reading("hermes", [weather]).read(turn)[2] == [("weather", None, False)]


@pytest.mark.parametrize("text", [f"{JSON_CALL}\nThat is the call.", f"```json\n{JSON_CALL}\n```"])
def test_json_that_is_not_the_whole_turn_is_an_answer_where_nothing_marks_calls(text: str) -> None:
    assert Reading("llama3", [weather]).read(f"{text}<|eot_id|>") == (text, "", [])


BLOCK = '<|content_invoke_tool_json|>{"name":"weather","args":{"city":"Oslo"}}'
RUN = [("weather", {"city": "Oslo"}, True)]


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (f"weather{BLOCK}<|end_message|>", ("", "", RUN)),
        (f"{BLOCK}<|end_message|>", ("", "", RUN)),
        (f"clock{BLOCK}<|end_message|>", ("", "", RUN)),  # the name inside counts
        (f"weather{BLOCK}", ("", "", [("", None, False)])),  # nothing ends it
        (f"weather{BLOCK}<|message_model|><|content_text|>No.", ("No.", "", [("", None, False)])),
        (f"<|content_thinking|>Hm.{BLOCK}<|end_message|>", ("", "Hm.", RUN)),  # a call ends reasoning
        ("<|content_thinking|>Hm. weather{}", ("", "Hm. weather{}", [])),
        ("A block without a kind.<|end_message|>", ("A block without a kind.", "", [])),
        ("One.<|content_text|> Two.<|end_message|>", ("One. Two.", "", [])),
        ("weather<|content_invoke_tool_json|>[1]<|end_message|>", ("", "", [("weather", None, False)])),
    ],
)
def test_a_block_is_what_its_control_token_says(turn: str, expected: Found) -> None:
    ended = f"{turn}<|content_model_end_sampling|>dropped"
    assert Reading("inkling", [weather]).read(ended) == expected


@pytest.mark.parametrize(
    ("name", "prompt", "turn"),
    [
        (
            "inkling",
            "<|message_model|><|content_text|>One.<|end_message|><|content_model_end_sampling|><|message_user|>",
            "<|message_model|><|content_text|>Two.<|end_message|>",
        ),
        (
            "harmony",
            "<|start|>assistant<|channel|>final<|message|>One.<|return|>",
            "<|start|>assistant<|channel|>final<|message|>Two.<|end|>",
        ),
        (
            "kimi-k3",
            "<|open|>response<|sep|>One.<|close|>response<|sep|><|end_of_msg|>",
            "<|open|>response<|sep|>Two.<|close|>response<|sep|>",
        ),
    ],
)
def test_a_turn_behind_one_that_is_over_is_read_where_the_prompt_opens_none(
    name: str, prompt: str, turn: str
) -> None:
    reading = Reading(name)
    assert reading.read(turn, prompt=reading.ids(prompt)) == ("Two.", "", [])


def test_a_prompt_may_open_the_reasoning_of_a_block() -> None:
    reading = Reading("inkling", [weather])
    prompt = reading.ids("<|message_model|><|content_thinking|>")
    assert reading.read("Hm.<|end_message|><|message_model|><|content_text|>Yes.", prompt=prompt) == (
        "Yes.",
        "Hm.",
        [],
    )
