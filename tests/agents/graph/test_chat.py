"""Prompts as they are declared: templates, turns, pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codec_agents.exceptions import PipelineError
from codec_agents.graph import Chat, ChatPiece, Declaration, RawPrompt, Slot, Text, parse_template
from codec_agents.graph.templates import TemplateError


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("", []),
        ("hello", [Text("hello")]),
        ("{a}", [Slot("a")]),
        ("Rewrite:\n{draft}!", [Text("Rewrite:\n"), Slot("draft"), Text("!")]),
        ("{a}{b}", [Slot("a"), Slot("b")]),
        ('{{"x": {value}}}', [Text('{"x": '), Slot("value"), Text("}")]),
        ("a {{not a slot}} b", [Text("a {not a slot} b")]),
        ("{{{{", [Text("{{")]),
    ],
)
def test_template_parts(template, parts):
    assert parse_template(template) == parts


@pytest.mark.parametrize(
    "template", ["{", "}", "a { b", "{}", "{two words}", "{1st}", "{a.b}", "{a!r}", "{a"]
)
def test_a_brace_without_meaning_is_refused(template):
    with pytest.raises(TemplateError, match=r"write \{\{|write \}\}"):
        parse_template(template)


@given(st.text())
def test_escaped_text_comes_back_as_one_text(text):
    parts = parse_template(text.replace("{", "{{").replace("}", "}}"))
    assert parts == ([Text(text)] if text else [])


def test_slots_of_a_chat_are_in_order_and_each_once():
    chat = Chat(system="{b} {a}", user="{a} {c}", turns=[{"user": "{d}"}, {"assistant": "yes"}])
    assert chat.slots == ("b", "a", "d", "c")


def test_turns_have_a_short_and_a_long_form():
    short = Chat(user="x", turns=[{"user": "hi"}, {"assistant": "hello"}])
    long = Chat(
        user="x", turns=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    )
    assert short == long
    assert short.model_dump()["turns"] == ({"user": "hi"}, {"assistant": "hello"})


CALLED = {
    "assistant": "Let me see.",
    "reasoning": "They ask for {place}.",
    "calls": [{"name": "weather", "arguments": {"city": "{place}", "more": [{"unit": "{unit}"}]}}],
}


def test_calls_stand_in_an_assistants_turn_with_their_results_behind_it():
    chat = Chat(user="{q}", turns=[CALLED, {"tool": "{found}"}])
    assert chat.slots == ("place", "unit", "found", "q")
    assert chat.model_dump()["turns"] == (CALLED, {"tool": "{found}"})
    assert Chat.model_validate(chat.model_dump()) == chat


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([CALLED], "turn 0 calls weather; a `tool` turn for each must follow it"),
        ([CALLED, {"user": "x"}, {"tool": "R"}], "turn 0 calls weather"),
        ([CALLED, {"tool": "R"}, {"tool": "R"}], "turn 0 calls weather"),
        ([{"user": "a"}, CALLED, {"tool": "R", "name": "clock"}], "turn 1 calls weather"),
        ([{"user": "a", "calls": [{"name": "f"}]}], "only an `assistant` turn"),
        ([{"tool": "a", "reasoning": "x"}], "only an `assistant` turn"),
        ([{"role": "user"}], "a turn needs its `content`"),
        ([{"assistant": "", "calls": [{"name": ""}]}], "at least 1 character"),
        ([{"assistant": "", "calls": [{"name": "f", "arguments": {"x": ["{"]}}]}, {"tool": ""}], "write {{"),
        (
            [{"assistant": "", "calls": [{"name": "f", "arguments": {"x": float("nan")}}]}, {"tool": ""}],
            "finite number",
        ),
    ],
)
def test_a_call_without_its_result_or_out_of_place_is_refused(turns, message):
    with pytest.raises(ValidationError) as refused:
        Chat(turns=turns)
    assert message in str(refused.value)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValidationError, match="a prompt needs"):
        Chat()


def test_a_raw_prompt_keeps_braces_as_text():
    prompt = RawPrompt(
        (ChatPiece(token="<|im_start|>"), ChatPiece(text="{not a slot}"), ChatPiece(slot="question"))
    )
    assert prompt.slots == ("question",)


@pytest.mark.parametrize("fields", [{}, {"token": "a", "text": "b"}])
def test_a_piece_is_exactly_one_thing(fields):
    with pytest.raises(ValidationError, match="exactly one"):
        ChatPiece(**fields)


def test_a_piece_that_is_a_text_is_told_its_forms():
    text = "pipeline: p\nnodes: {m: {map: demo/bytes, prompt: ['Title: {q}']}}\nedges: [q -> m, m -> out]\n"
    with pytest.raises(
        PipelineError, match=r"prompt\[0\]: a piece is {token: NAME}, {text: TEXT} or {slot: NAME}"
    ):
        Declaration.from_yaml(text)


@pytest.mark.parametrize("name", ["x\n", "", "a b", "1"])
def test_a_slot_has_a_name(name):
    with pytest.raises(ValueError, match="is not a slot"):
        parse_template(f"{{{name}}}")
