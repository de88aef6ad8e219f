"""Calls found in text: long turns that come id by id cost what their ids cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_agents.dialects.parsing.text_calls import TextForm, TextLane
from codec_agents.dialects.values import CallRegion, PortIds
from tests.limits import within

TAGGED = TextForm((b"<tool_call>",), b"</tool_call>", anywhere=True, keep_start=False)
BRACED = TextForm((b"{",), None, anywhere=False, keep_start=True)
MANY = 60_000


def events_of(form, text):
    """Return the events of a text that comes a byte, which is an id, at a time."""
    lane = TextLane(form, lambda token_id: bytes([token_id]), lambda piece: list(piece.encode()), bool)
    events = [event for at, byte in enumerate(text) for event in lane.feed((byte,), at)]
    return events + lane.flush(proper=True)


def answer_of(events):
    return b"".join(bytes(event.ids) for event in events if isinstance(event, PortIds))


@pytest.mark.parametrize(
    "text", [b" " * MANY, b" " * MANY + b"text", b"<" * MANY, b"<tool_call" * (MANY // 10)]
)
@pytest.mark.parametrize("form", [TAGGED, BRACED])
def test_long_text_that_might_become_a_call_is_answer_in_linear_time(form, text):
    with within(seconds=2.0):
        events = events_of(form, text)
    assert answer_of(events) == text


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (BRACED, b" " * MANY + b"{}"),
        (BRACED, b"{" + b"x" * MANY),
        (TAGGED, b"<tool_call>" + b"x" * MANY + b"</tool_call>"),
        (TAGGED, b"<tool_call>" + b"</" * (MANY // 2) + b"</tool_call>"),
    ],
)
def test_a_long_call_is_found_in_linear_time(form, text):
    with within(seconds=2.0):
        (call,) = events_of(form, text)
    assert isinstance(call, CallRegion)
    assert (bytes(call.ids), call.closed, call.start, call.stop) == (text, True, 0, len(text))


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(["<tool_call>", "</tool_call>", "<tool", "<", "t", "_call>", "words "]), max_size=12
    )
)
def test_no_more_is_held_back_than_may_be_a_marker(parts):
    text, start = "".join(parts).encode(), TAGGED.starts[0]
    lane = TextLane(TAGGED, lambda token_id: bytes([token_id]), lambda piece: list(piece.encode()), bool)
    given_out = b""
    for at, byte in enumerate(text):
        given_out += answer_of(lane.feed((byte,), at))
        if start in text[: at + 1]:
            break
        held = text[: at + 1].removeprefix(given_out)
        assert text.startswith(given_out)
        assert start.startswith(held)
        assert len(held) < len(start)
