"""Prompts as they are declared: templates, turns, pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codec_agents.graph import Chat, Piece, RawPrompt, Slot, Text, parse_template
from codec_agents.graph.chat import TemplateError


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


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValidationError, match="a prompt needs"):
        Chat()


def test_a_raw_prompt_keeps_braces_as_text():
    prompt = RawPrompt((Piece(token="<|im_start|>"), Piece(text="{not a slot}"), Piece(slot="question")))
    assert prompt.slots == ("question",)


@pytest.mark.parametrize("fields", [{}, {"token": "a", "text": "b"}])
def test_a_piece_is_exactly_one_thing(fields):
    with pytest.raises(ValidationError, match="exactly one"):
        Piece(**fields)
