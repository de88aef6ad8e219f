"""Calls found in text: long turns that come id by id cost what their ids cost."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_agents.dialects.parsing.text_calls import MOST_TRIED, TextForm, TextLane
from codec_agents.dialects.values import CallRegion, PortIds
from tests.cases import cases
from tests.limits import within

TAGGED = TextForm((b"<tool_call>",), b"</tool_call>", anywhere=True, keep_start=False)
BRACED = TextForm((b"{",), None, anywhere=False, keep_start=True)
MANY = 60_000


class Braces:
    """Takes a payload for a call that begins with a brace; with `every`, any payload."""

    def __init__(self, *, every: bool = False) -> None:
        self._every = every

    def begins(self, payload: str) -> bool | None:
        text = payload.lstrip()
        return True if self._every else None if not text else text.startswith("{")

    def is_call(self, payload: str) -> bool:
        return self.begins(payload) is True


EVERY = Braces(every=True)


def lane_of(form, tokens=None, test=EVERY):
    """Return a lane whose ids are bytes, or places in a list of tokens."""
    spell = (lambda token_id: bytes([token_id])) if tokens is None else tokens.__getitem__
    return TextLane(form, spell, lambda piece: list(piece.encode()), test)


def events_of(form, text):
    """Return the events of a text that comes a byte, which is an id, at a time."""
    lane = lane_of(form)
    events = [event for at, byte in enumerate(text) for event in lane.feed((byte,), at)]
    return events + lane.flush(proper=True)


def answer_of(events):
    return b"".join(bytes(event.ids) for event in events if isinstance(event, PortIds))


@pytest.mark.parametrize(
    "text", [b" " * MANY, b" " * MANY + b"text", b"<" * MANY, b"<tool_call" * (MANY // 10)]
)
@pytest.mark.parametrize("form", [TAGGED, pytest.param(BRACED, marks=pytest.mark.slow)])
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


class Counted(bytearray):
    """Counts the bytes that are copied out of it or searched."""

    steps = 0

    def __getitem__(self, place):
        found = super().__getitem__(place)
        Counted.steps += len(found) if isinstance(place, slice) else 1
        return found

    def find(self, part, begin):
        at = super().find(part, begin)
        Counted.steps += (len(self) if at < 0 else at) - begin
        return at


class Tries:
    """Takes every mark for the beginning of a call, or none, and counts the bytes of whole payloads."""

    def __init__(self, *, begins: bool) -> None:
        self._begins = begins
        self.read = 0
        self.tries = 0

    def begins(self, _payload: str) -> bool:
        return self._begins

    def is_call(self, payload: str) -> bool:
        self.tries += 1
        self.read += len(payload)
        return payload == "last"


TWO_MARKED = TextForm((b"<|tool_call|>", b"<tool_call>"), b"</tool_call>", anywhere=True, keep_start=False)


def steps_of(form, tokens, test, size):
    """Return the answer and the calls of tokens that come some at a time, and the steps that it took."""
    lane, ids = lane_of(form, tokens, test), range(len(tokens))
    lane._data, Counted.steps = Counted(), 0
    events = [e for at in range(0, len(ids), size) for e in lane.feed(ids[at : at + size], at)]
    events += lane.flush(proper=True)
    answer = [each for event in events if isinstance(event, PortIds) for each in event.ids]
    return answer, [event for event in events if isinstance(event, CallRegion)], Counted.steps


@pytest.mark.parametrize("size", [16, MANY])
@pytest.mark.parametrize("form", [TAGGED, TWO_MARKED])
def test_marks_that_begin_no_call_cost_steps_in_proportion(form, size):
    tokens = [b"<tool_call>", b" x "] * 400
    answer, calls, steps = steps_of(form, tokens, Tries(begins=False), size)
    assert (answer, calls) == (list(range(len(tokens))), [])
    # Each decision reads at most 512 bytes behind its mark, and ends of characters.
    assert steps < 400 * 600


@pytest.mark.parametrize("size", [16, MANY])
@pytest.mark.parametrize("end", [b"</tool_call>", b""])
def test_of_many_marks_before_one_end_the_first_and_the_last_are_tried(end, size):
    """Each would read all up to the end."""
    begun = [b"<tool_call>", b'{"a'] * 400
    test = Tries(begins=True)
    answer, calls, _ = steps_of(TAGGED, [*begun, end], test, size)
    assert (len(answer), calls, test.tries) == (801, [], MOST_TRIED + 1)
    assert test.read < (MOST_TRIED + 1) * sum(map(len, begun))
    [call] = steps_of(TAGGED, [*begun, b"<tool_call>", b"last", end], test, size)[1]
    assert (call.text, call.closed) == ("last", bool(end))


@settings(max_examples=cases(300))
@given(
    st.lists(
        st.sampled_from(["<tool_call>", "</tool_call>", "<tool", "<", "t", "_call>", "words "]), max_size=12
    )
)
def test_no_more_is_held_back_than_may_be_a_marker(parts):
    text, start = "".join(parts).encode(), TAGGED.starts[0]
    lane = lane_of(TAGGED)
    given_out = b""
    for at, byte in enumerate(text):
        given_out += answer_of(lane.feed((byte,), at))
        if start in text[: at + 1]:
            break
        held = text[: at + 1].removeprefix(given_out)
        assert text.startswith(given_out)
        assert start.startswith(held)
        assert len(held) < len(start)


PIECES = ["<tool_call>", "</tool_call>", "{1}", "{", "a", " ", "三", "😀", "<", "></", "tool", "call_"]


def read(tokens, cuts, test):
    """Return the answer and the payloads of a text in tokens; what is encoded anew are ids of bytes."""
    encoded = [bytes([byte]) for byte in range(256)]
    lane = lane_of(TAGGED, [*encoded, *tokens], test)
    ids = list(range(256, 256 + len(tokens)))
    events = []
    for begin, end in pairwise([0, *cuts, len(ids)]):
        events += lane.feed(ids[begin:end], begin)
    events += lane.flush(proper=True)
    answer = [each for event in events if isinstance(event, PortIds) for each in event.ids]
    calls = [(event.text, event.closed) for event in events if isinstance(event, CallRegion)]
    return b"".join([*encoded, *tokens][each] for each in answer), calls, answer


def expected(text):
    """Return the answer and the payloads of a text, read in the simplest way."""
    answer, calls, place = "", [], 0
    while place < len(text):
        behind = text[place:].removeprefix("<tool_call>")
        if behind == text[place:] or not behind.lstrip().startswith("{"):
            answer += text[place]
            place += 1
            continue
        payload, end, _ = behind.partition("</tool_call>")
        calls.append((payload, bool(end)))
        place += len("<tool_call>") + len(payload) + len(end)
    return answer.encode(), calls


@settings(max_examples=cases(300))
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.data())
def test_text_that_is_no_call_is_answer_whole_and_once(parts, data):
    """Whatever the tokens and the cuts: marks and characters may be split anywhere, and share tokens."""
    text = "".join(parts).encode()
    places = st.lists(st.integers(0, len(text)), max_size=10)
    seams = sorted({0, len(text), *data.draw(places)})
    tokens = [text[begin:end] for begin, end in pairwise(seams)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(tokens)), max_size=5)))
    answer, calls, ids = read(tokens, cuts, Braces())
    assert (answer, calls) == expected(text.decode())
    assert read(tokens, [], Braces()) == (answer, calls, ids)
    if not calls:
        assert ids == list(range(256, 256 + len(tokens)))
