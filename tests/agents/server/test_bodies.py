"""Bodies that are anything: they are read, or refused with 400, and never fail otherwise."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_agents.engines.base import SamplingOptions
from codec_agents.server import ServerSettings
from codec_agents.server.apis.chat import ChatBody, read_chat
from codec_agents.server.apis.prompts import chat_prompt
from codec_agents.server.bodies import CompletionBody, check_sampling, read_completion, read_prompt
from codec_agents.server.http import HttpError
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.cases import cases

LIMITS = ServerSettings()
VOCABULARIES = [vocabulary_of(small_map_of(name)) for name in ("qwen3", "llama3", "mistral-v3")]

WORDS = ["", "user", "assistant", "tool", "system", "function", "{}", "text"]
TEXTS = st.text(max_size=8) | st.sampled_from(WORDS)
SCALARS = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | TEXTS
KEYS = st.sampled_from(
    ["role", "content", "tool_calls", "function", "name", "arguments", "id", "type", "text", "parameters"]
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXTS, inner, max_size=4)


VALUES: st.SearchStrategy[Any] = st.recursive(SCALARS, containers, max_leaves=12)

ALPHABET = '{}[]":,\\u0d8promptmessages12ef '
FUNCTIONS = st.fixed_dictionaries({"name": TEXTS, "arguments": TEXTS | VALUES})
CALLS = st.fixed_dictionaries({"function": FUNCTIONS | VALUES}, optional={"id": TEXTS, "type": TEXTS})
MESSAGES = st.fixed_dictionaries(
    {"role": TEXTS | VALUES},
    optional={
        "content": TEXTS | VALUES,
        "tool_calls": st.lists(CALLS, max_size=2) | VALUES,
        "tool_call_id": TEXTS,
    },
)
TOOLS = st.fixed_dictionaries({"function": VALUES}, optional={"type": TEXTS})


def fields_of(body: type[msgspec.Struct]) -> list[str]:
    return [name for name in body.__struct_fields__ if name not in ("messages", "prompt", "tools")]


def refused_or(read: Any, *arguments: Any) -> Any:
    """Return what is read; None for a refusal, which has to be a 400."""
    refused = None
    try:
        return read(*arguments)
    except HttpError as error:
        refused = error
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["message"]
    return None


@settings(max_examples=cases(300))
@given(
    messages=st.lists(MESSAGES, max_size=4) | VALUES,
    tools=st.lists(TOOLS, max_size=2) | st.none(),
    others=st.dictionaries(st.sampled_from(fields_of(ChatBody)) | TEXTS, VALUES, max_size=2),
)
def test_a_chat_is_read_and_written_or_refused(messages: Any, tools: Any, others: dict[str, Any]) -> None:
    document = {**others, "messages": messages, "tools": tools}
    body = refused_or(read_chat, json.dumps(document).encode(), LIMITS)
    for vocabulary in VOCABULARIES if body is not None else ():
        ids = refused_or(chat_prompt, body, vocabulary)
        assert ids is None or (ids and all(map(vocabulary.is_valid, ids)))


@settings(max_examples=cases(300))
@given(
    prompt=VALUES | st.lists(st.integers(0, 300), max_size=5),
    others=st.dictionaries(st.sampled_from(fields_of(CompletionBody)) | TEXTS, VALUES, max_size=2),
)
def test_a_completion_is_read_or_refused(prompt: Any, others: dict[str, Any]) -> None:
    body = refused_or(read_completion, json.dumps({**others, "prompt": prompt}).encode(), LIMITS)
    read = None if body is None else refused_or(read_prompt, bytes(body.prompt))
    if isinstance(prompt, str) and body is not None:
        assert read == prompt or "\\ud" in json.dumps(prompt)


@settings(max_examples=cases(300))
@given(
    body=st.binary(max_size=60)
    | st.text(alphabet='{}[]":,\\u0d8promptmessages12ef ', max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    refused_or(read_chat, body, LIMITS)
    refused_or(read_completion, body, LIMITS)


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ('"text"', "text"), ('["text"]', "text"), ("[1, 2]", [1, 2]), ("[[1, 2]]", [1, 2]), ("[]", []),
        (' [ "text" ] ', "text"),
    ],
)  # fmt: skip
def test_the_forms_of_a_prompt(prompt: str, read: Any) -> None:
    body = read_completion(b'{"prompt":' + prompt.encode() + b"}", LIMITS)
    assert read_prompt(bytes(body.prompt)) == read


NO_PROMPTS = [
    "null", "5", "true", "{}", "[null]", "[true]", "[1.5]", '[1, "a"]', '["a", 1]', "[[[1]]]",
    '["a", "b"]', "[[1], [2]]", r'"\ud800"', '["a", []]', "[[]", "[" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("prompt", NO_PROMPTS)
def test_what_is_no_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(HttpError, match="400") as refused:
        read_prompt(bytes(read_completion(b'{"prompt":' + prompt.encode() + b"}", LIMITS).prompt))
    assert refused.value.param in ("prompt", None)


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("temperature", [-0.1, -1e308, math.nan, math.inf], [0, 2.5]),
        ("top_p", [-0.1, 1.1], [0, 1]),
        ("top_k", [-2, 2**31], [-1, 0, 5]),
        ("seed", [2**64, -(2**63) - 1, 10**400], [2**64 - 1, -5]),
        ("min_p", [-0.1, 2], [0, 1]),
        ("min_tokens", [-1], [0]),
        ("repetition_penalty", [0, -1], [0.5]),
    ],
)
def test_numbers_that_no_draw_can_have_are_refused(field: str, wrong: list[Any], right: list[Any]) -> None:
    for value in right:
        check_sampling(SamplingOptions(**{field: value}))
    for value in wrong:
        with pytest.raises(HttpError, match=field) as refused:
            check_sampling(SamplingOptions(**{field: value}))
        assert (refused.value.status, refused.value.param) == (400, field)
