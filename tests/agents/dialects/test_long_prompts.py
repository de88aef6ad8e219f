"""Long prompts and turns are read, and left without reasoning, in linear time."""

from __future__ import annotations

import pytest

from codec_agents.dialects import BoundDialect, CallRegion, Message, MessageCall, PortIds, get_dialect
from codec_agents.dialects.parsing.message_reader import MAX_HEADER_IDS
from codec_core.tokenizer import pick_tokenizer
from tests.agents.dialects.families import TOOLS, small_map, small_map_of
from tests.limits import within

MANY = 4_000


def bound(name: str, *, bare: bool = False) -> BoundDialect:
    dialect = get_dialect(name)
    return BoundDialect(dialect, small_map(list(dialect.markers)) if bare else small_map_of(name), TOOLS)


def ids_of(dialect: BoundDialect, text: str) -> list[int]:
    return pick_tokenizer(dialect.vocabulary).encode_ordinary(text)


def test_results_that_only_text_marks_are_read_in_linear_time() -> None:
    hermes, count, result = bound("hermes", bare=True), 400, "word " * 200
    asked = Message(role="user", content="Hi")
    called = Message(role="assistant", calls=(MessageCall("weather", {"city": "Oslo"}),))
    told = [asked, called, Message(role="tool", content=result)]
    prompt, whole = (hermes.write(each, add_generation_prompt=False) for each in ([asked], told))
    with within(seconds=0.4):
        read = hermes.read([*prompt, *whole[len(prompt) :] * count])
    assert [message.content for message in read.messages if message.role == "tool"] == [result] * count


def test_many_results_in_one_turn_are_read_in_linear_time() -> None:
    hermes, count, result = bound("hermes", bare=True), 100, "word " * 100
    calls = tuple(MessageCall("weather", {"city": "Oslo"}) for _ in range(count))
    messages = [Message(role="user", content="Hi"), Message(role="assistant", calls=calls)]
    ids = hermes.write([*messages, *[Message(role="tool", content=result)] * count])
    with within(seconds=0.4):
        read = hermes.read(ids)
    assert [message.content for message in read.messages if message.role == "tool"] == [result] * count


def test_results_without_an_end_are_read_in_linear_time() -> None:
    harmony = bound("harmony")
    special = harmony.vocabulary.special_tokens
    start, channel, message = (special[f"<|{name}|>"] for name in ("start", "channel", "message"))
    head = [
        start,
        *ids_of(harmony, "functions.weather to=assistant"),
        channel,
        *ids_of(harmony, "commentary"),
    ]
    with within(seconds=0.6):
        read = harmony.read([*head, message] * (MANY // 2))
    assert len(read.turns) == MANY // 2


def test_a_turn_of_many_marks_of_calls_is_read_in_linear_time() -> None:
    hermes = bound("hermes", bare=True)
    ids = ids_of(hermes, '<tool_call>{"name" ' * MANY)
    reader = hermes.reader()
    with within(seconds=0.4):
        events = [*reader.feed(ids), *reader.flush("stop")]
    assert [token for event in events for token in event.ids] == ids


def test_reasoning_before_a_long_answer_is_left_out_in_linear_time() -> None:
    kimi = bound("kimi-k3")
    special = kimi.vocabulary.special_tokens
    prompt, answer = kimi.write([Message(role="user", content="Hi")]), ids_of(kimi, "word ") * MANY
    assert len(answer) >= 8_000
    closed = [special["<|close|>"], *ids_of(kimi, "think"), special["<|sep|>"]]
    with within(seconds=0.5):
        kept = list(kimi.reasoning.left_out([*prompt, *ids_of(kimi, "Hm"), *closed, *answer], len(prompt)))
    assert kept[-len(answer) :] == answer
    assert len(kept) <= len(prompt) + len(answer)


def test_reasoning_that_is_never_closed_is_left_out_in_linear_time() -> None:
    qwen = bound("qwen3")
    special = qwen.vocabulary.special_tokens
    prompt = qwen.write([Message(role="user", content="Hi")])
    turn = [special["<think>"], *ids_of(qwen, "Hm"), special["<|im_end|>"]]
    with within(seconds=0.5):
        kept = list(qwen.reasoning.left_out([*prompt, *turn * MANY], len(prompt)))
    assert kept == [*prompt, *[special["<|im_end|>"]] * MANY]


def test_tags_that_are_never_ended_are_left_as_they_are_in_linear_time() -> None:
    kimi = bound("kimi-k3")
    special = kimi.vocabulary.special_tokens
    prompt = kimi.write([Message(role="user", content="Hi")])
    closed = [special["<|close|>"], *ids_of(kimi, "think"), special["<|sep|>"]]
    turn = [special["<|open|>"], *ids_of(kimi, "word ")] * MANY
    with within(seconds=0.5):
        kept = list(kimi.reasoning.left_out([*prompt, *closed, *turn], len(prompt)))
    assert kept[-len(turn) :] == turn


def test_messages_of_reasoning_are_left_out_and_the_rest_stays() -> None:
    harmony = bound("harmony")
    special = harmony.vocabulary.special_tokens
    start, channel, message = (special[f"<|{name}|>"] for name in ("start", "channel", "message"))

    def said(name: str, end: str) -> list[int]:
        body = [message, *ids_of(harmony, f"{name} "), special[end]]
        return [channel, *ids_of(harmony, name), *body]

    prompt = harmony.write([Message(role="user", content="Hi")])
    opening = prompt[len(prompt) - 1 - prompt[::-1].index(start) :]
    turn = [*said("analysis", "<|end|>"), *opening, *said("final", "<|return|>")]
    kept = harmony.reasoning.left_out([*prompt, *turn], len(prompt))
    # The end of the model's last message is the end of any message in history.
    assert list(kept) == [*prompt, *said("final", "<|end|>")]


@pytest.mark.parametrize("before", [MAX_HEADER_IDS - 3, MAX_HEADER_IDS - 1, MAX_HEADER_IDS + 3])
def test_a_long_header_is_read_alike_however_its_ids_are_cut(before: int) -> None:
    harmony = bound("harmony")
    special = harmony.vocabulary.special_tokens
    head = [*ids_of(harmony, "x")[:1] * before, *ids_of(harmony, " to=functions.weather")]
    turn = [
        special["<|channel|>"],
        *head,
        special["<|message|>"],
        *ids_of(harmony, "{}"),
        special["<|call|>"],
    ]

    def read(size: int) -> list[tuple[type, int, int]]:
        reader = harmony.reader()
        fed = [event for at in range(0, len(turn), size) for event in reader.feed(turn[at : at + size])]
        return [
            (type(event), event.start, len(event.ids))
            for event in [*fed, *reader.flush("stop")]
            if isinstance(event, CallRegion)
        ] or [(PortIds, 0, sum(len(event.ids) for event in fed))]

    assert read(len(turn)) == read(1) == read(7)


def test_an_id_that_json_cannot_spell_makes_no_result() -> None:
    mistral = bound("mistral-v3")
    special = mistral.vocabulary.special_tokens
    told = ids_of(mistral, '{"content": "R", "call_id": "\\q"}')
    ids = [*mistral.write([Message(role="user", content="Hi")]), special["[TOOL_RESULTS]"], *told]
    read = mistral.read([*ids, special["[/TOOL_RESULTS]"]])
    assert not any(message.role == "tool" for message in read.messages)
