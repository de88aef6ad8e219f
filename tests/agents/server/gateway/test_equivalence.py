"""The rule by which a message sent back is the turn that the model generated."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.server.gateway.equivalence import json_form, model_turn_form, same_model_turn
from tests.agents.server.gateway.recordings import answers, model_turns, needs_recordings, runs

ARGUMENTS = '{"a": 1, "b": [1.0, true, "é"]}'


def turn(
    content: str = "x  y",
    *,
    reasoning: str | None = "r",
    arguments: str | None = ARGUMENTS,
    call_id: str = "c1",
) -> Message:
    calls = () if arguments is None else (MessageCall("f", None, call_id, arguments),)
    return Message(role="assistant", content=content, reasoning=reasoning, calls=calls)


def test_the_same_turn_written_otherwise() -> None:
    for theirs in (
        turn(arguments='{"b":[1.0,true,"\\u00e9"],"a":1}'),
        turn(arguments='{"a":1,"b":[1,true,"é"]}'),
        turn(arguments='{"a":1e0,"b":[0.10e1,true,"é"]}'),
        turn(reasoning=None),
        turn(reasoning=" \n"),
        turn(reasoning="\nr "),
        turn("\n\nx  y \r\n\t"),
        turn(call_id="another"),
    ):
        assert same_model_turn(turn(), theirs), theirs
        assert model_turn_form(turn()) == model_turn_form(theirs), theirs


def test_another_turn() -> None:
    for theirs in (
        turn(arguments='{"a":1,"b":[1,1,"é"]}'),
        turn(arguments='{"a":"1","b":[1,true,"é"]}'),
        turn(arguments='{"a":1,"b":[1,true,"e\u0301"]}'),
        turn(arguments='{"a":1,"b":[true,1,"é"]}'),
        turn(arguments='{"a":1,"b":[1,true,"é"],"c":null}'),
        turn(arguments='{"a":1,"a":1,"b":[1,true,"é"]}'),
        turn(arguments='{"a":true,"b":[1,true,"é"]}'),
        turn("x y"),
        turn("\u00a0x  y"),
        turn("x  y\u200b"),
        turn(arguments=None),
    ):
        assert not same_model_turn(turn(), theirs), theirs
        assert model_turn_form(turn()) != model_turn_form(theirs), theirs


def test_altered_reasoning_is_another_turn_though_it_is_not_part_of_the_form() -> None:
    assert not same_model_turn(turn(), turn(reasoning="q"))
    assert model_turn_form(turn()) == model_turn_form(turn(reasoning="q"))


def test_the_order_and_the_names_of_calls_count() -> None:
    first, second = MessageCall("f", None, None, "{}"), MessageCall("g", None, None, "{}")
    ours = Message(role="assistant", calls=(first, second))
    assert not same_model_turn(ours, Message(role="assistant", calls=(second, first)))
    assert not same_model_turn(ours, Message(role="assistant", calls=(first,)))
    assert not same_model_turn(ours, Message(role="user"))


def test_what_is_no_strict_json_is_equal_only_to_itself() -> None:
    for text in ["{bad", '{"a":NaN}', '{"a":1,"a":2}', "[" * 100_000, '{"a":"\n"}', ""]:
        assert json_form(text).startswith(b"r")
        assert json_form(text) == json_form(text)
        assert json_form(text) != json_form(text + " ")


def test_numbers_count_by_value_and_nothing_is_taken_for_another_type() -> None:
    for one, other, equal in (
        ("12345678901234567890", "12345678901234567000", False),
        ("12345678901234567890123456789012345", "12345678901234567890123456789012346", False),
        ("0.1", "0.1000000000000000055511151231257827", False),
        ("1e400", "10e399", True),
        ("1e400", "1e401", False),
        ("0", "-0.0", True),
        ("0", "false", False),
        ("null", '"None"', False),
        ('"\\ud800"', '"\\udc00"', False),
        ("100", "1e2", True),
        ("0.001", "1E-3", True),
        ("{}", "[]", False),
        ('[["a"],"b"]', '["a",["b"]]', False),
    ):
        assert (json_form(one) == json_form(other)) is equal, (one, other)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def written(value: Any, *, pretty: bool) -> str:
    """Write a value as one client or another does, decimals with all their digits."""
    match value:
        case Decimal():
            return format(value, "e") if pretty and value else str(value)
        case dict():
            items = list(value.items())
            pairs = [
                f"{json.dumps(key, ensure_ascii=pretty)}: {written(each, pretty=pretty)}"
                for key, each in items
            ]
            return "{" + ",\n ".join(reversed(pairs) if pretty else pairs) + "}"
        case list():
            return "[" + (" , " if pretty else ",").join(written(each, pretty=pretty) for each in value) + "]"
    return json.dumps(value, ensure_ascii=pretty)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_how_a_value_is_written_does_not_count(value: Any) -> None:
    assert json_form(written(value, pretty=True)) == json_form(written(value, pretty=False))


def typed(value: Any) -> Any:
    """Return a value as the readable rule sees it: values of different types never equal."""
    match value:
        case bool() | None:
            return ("constant", value)
        case int() | Decimal():
            return ("number", value)
        case dict():
            return ("object", {key: typed(each) for key, each in value.items()})
        case list():
            return ("array", [typed(each) for each in value])
    return ("string", value)


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_forms_are_equal_exactly_where_typed_values_are(one: Any, other: Any) -> None:
    equal = json_form(written(one, pretty=False)) == json_form(written(other, pretty=True))
    assert equal is (typed(one) == typed(other))


@needs_recordings
def test_every_turn_that_clients_sent_back_is_recognized() -> None:
    seen = 0
    for run, requests in runs():
        if run.startswith("retry"):
            continue
        ours = answers(run)
        for request in requests:
            theirs = model_turns(request)
            for mine, sent in zip(ours, theirs, strict=False):
                seen += 1
                assert same_model_turn(mine, sent), (run, mine, sent)
                assert model_turn_form(mine) == model_turn_form(sent)
    assert seen == 565
