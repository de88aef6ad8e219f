"""Requests of Responses and Messages as the one value of all APIs; whatever else they hold is a 400."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from anthropic.resources.messages import AsyncMessages
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.resources.responses import AsyncResponses

from codec_agents.dialects import Message, MessageCall
from codec_agents.server.apis import messages, responses
from codec_agents.server.apis.chat import read_chat
from codec_agents.server.apis.messages import MessagesBody, read_messages
from codec_agents.server.apis.prompts import chat_prompt
from codec_agents.server.apis.request import Hints, OfferedTool
from codec_agents.server.apis.responses import Item, ResponsesBody, read_responses
from codec_agents.server.fields import HINTS, KnownFields, check_entries
from codec_agents.server.http import HttpError
from codec_agents.server.settings import ServerSettings
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.cases import cases

SCHEMA = {
    "type": "object",
    "anyOf": [{"properties": {name: {"type": "string"} for name in ("type", "role")}}] * 9,
}
READERS = [
    (read_chat, "messages", {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}, {}),
    (read_messages, "messages", {"name": "f", "input_schema": SCHEMA}, {"model": "m", "max_tokens": 9}),
    (read_responses, "input", {"type": "function", "name": "f", "parameters": SCHEMA}, {}),
]

RAW = '{"a": 1e2, "b":  "\\u00fc"}'
CALLED = MessageCall("f", {"a": 100.0, "b": "ü"}, "c1")
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Let me  look.", reasoning="Hm. ", calls=(CALLED,)),
    Message(role="tool", content="17", call_id="c1"),
    Message(role="user", content="And?"),
)


def text(said: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, kind if kind == "thinking" else "text": said}


@pytest.mark.parametrize(("read", "field", "tool", "more"), READERS)
def test_tools_of_one_request_have_different_names(
    read: Any, field: str, tool: dict[str, Any], more: dict[str, Any]
) -> None:
    other = json.loads(json.dumps(tool).replace('"f"', '"g"'))
    body = {**more, field: [{"role": "user", "content": "hi"}], "tools": [tool, other, tool]}
    with pytest.raises(HttpError, match=r"tools\[0\] and tools\[2\] are both named 'f'") as caught:
        read(json.dumps(body).encode(), ServerSettings())
    assert caught.value.status == 400


@pytest.mark.parametrize(("read", "field", "tool", "more"), READERS)
def test_only_what_can_be_an_entry_counts_against_their_limit(
    read: Any, field: str, tool: dict[str, Any], more: dict[str, Any]
) -> None:
    limits = ServerSettings(max_messages=3)
    entry = {"role": "user", "content": "hi"}
    body = json.dumps({**more, field: [entry], "tools": [tool]})
    assert len(read(body.encode(), limits).tools) == 1
    many = json.dumps([{"type": "message", **entry}] * 7)
    # The decoder reads both of two fields of one name, so both count.
    for told in (f'{{"{field}": {many}}}', f'{{"{field}": {many}, {body[1:]}'):
        with pytest.raises(HttpError, match="too many") as caught:
            read(told.encode(), limits)
        assert caught.value.param == field


@pytest.mark.parametrize(("read", "field", "tool", "more"), READERS)
def test_parts_of_entries_do_not_count_against_the_limit_of_entries(
    read: Any, field: str, tool: dict[str, Any], more: dict[str, Any]
) -> None:
    limits, part = ServerSettings(max_messages=3), "input_text" if field == "input" else "text"
    entry = {"role": "user", "content": [text('{} {"role"', part)] * 9}
    asked = read(json.dumps({**more, field: [entry] * 3, "tools": [tool]}).encode(), limits)
    assert [len(message.content) for message in asked.messages] == [9 * 10] * 3
    with pytest.raises(HttpError, match="too many"):
        read(json.dumps({**more, field: [entry] * 4, "tools": [tool]}).encode(), limits)


def test_what_looks_like_an_entry_within_one_counts_none() -> None:
    call = {"type": "tool_use", "input": {"users": [{"role": "admin"}] * 9}}
    body = json.dumps({"messages": [{"role": "assistant", "content": [call]}] * 3}).encode()
    check_entries(body, b'"role"', 3, "messages", "messages")
    with pytest.raises(HttpError, match="too many"):
        check_entries(body, b'"role"', 2, "messages", "messages")


@pytest.mark.parametrize("last", ["1", "[]", "null", '"role"'])
def test_a_list_with_another_entry_than_an_object_is_refused_before_it_is_decoded(last: str) -> None:
    body = b'{"messages": [' + b'{"role": ""}, ' * 3 + last.encode() + b"]}"
    with pytest.raises(HttpError, match="too many messages"):
        check_entries(body, b'"role"', 2, "messages", "messages")


def test_a_text_counts_no_entries() -> None:
    check_entries(b'{"input":  "{{{{"}', b"{", 2, "input", "items")


def test_items_without_a_type_count() -> None:
    with pytest.raises(HttpError, match="too many items, the limit is 3") as caught:
        read_responses(json.dumps({"input": [{}] * 4}).encode(), ServerSettings(max_messages=3))
    assert caught.value.param == "input"


def test_items_of_the_model_are_one_turn() -> None:
    hm, let = text("Hm. ", "reasoning_text"), text("Let me ", "output_text")
    asked = read_responses(
        json.dumps(
            {
                "instructions": "Be brief.",
                "input": [
                    {"role": "user", "content": [text("H", "input_text"), text("i", "input_text")]},
                    {"type": "reasoning", "id": "rs", "summary": [], "content": [hm]},
                    {"type": "message", "id": "m", "role": "assistant", "content": [let]},
                    {"role": "assistant", "content": " look."},
                    {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": RAW},
                    {"type": "function_call_output", "call_id": "c1", "output": [text("17", "input_text")]},
                    {"role": "user", "content": "And?"},
                ],
                "tools": [{"type": "function", "name": "f", "parameters": {"a": 1}, "strict": True}],
                "tool_choice": {"type": "function", "name": "f"},
                "reasoning": {"effort": "none", "summary": "auto"},
                "include": ["reasoning.encrypted_content"],
                "max_output_tokens": 5,
                "store": False,
                "stream": True,
            }
        ).encode()
    )  # fmt: skip
    assert asked.messages == CONVERSATION
    assert asked.messages[2].calls[0].text == RAW
    assert asked.hints == Hints(minted={2: ("rs", "m", "fc", "c1")})
    assert (asked.tools, asked.tool_choice, asked.tool_name) == (
        (OfferedTool("f", "", {"a": 1}),), "required", "f",
    )  # fmt: skip
    assert (asked.thinking, asked.reasoning_summary, asked.encrypted_reasoning) == ("off", True, True)
    assert (asked.max_tokens, asked.store, asked.stream) == (5, False, True)


def test_reasoning_comes_back_as_a_summary_or_empty() -> None:
    def reasoning(**fields: Any) -> str | None:
        items = [{"type": "reasoning", **fields}, {"role": "user", "content": "x"}]
        return read_responses(json.dumps({"input": items}).encode()).messages[0].reasoning

    assert reasoning(summary=[text("Hm.", "summary_text")], content=[]) == "Hm."
    assert reasoning(summary=[], content=[], status="in_progress") is None
    assert reasoning(content=None, encrypted_content="enc") is None
    assert reasoning(content=[text("\u00a0", "reasoning_text")]) == "\u00a0"


def test_items_may_follow_a_response_that_this_request_does_not_repeat() -> None:
    items = [{"type": "function_call_output", "call_id": "c9", "output": "17"}]
    asked = read_responses(json.dumps({"input": items, "previous_response_id": "resp_1"}).encode())
    assert asked.hints.previous_response_id == "resp_1"
    assert asked.messages == (Message(role="tool", content="17", call_id="c9"),)


def test_blocks_of_messages() -> None:
    call = '{"type": "tool_use", "id": "c1", "name": "f", "input": ' + RAW + "}"
    body = {
        "max_tokens": 5,
        "system": [{**text("Be "), "cache_control": {"type": "ephemeral"}}, text("brief.")],
        "messages": [
            {"role": "user", "content": [text("H"), text("i")]},
            {
                "role": "assistant",
                "content": [{**text("Hm. ", "thinking"), "signature": "s"}, text("Let me  look."), "CALL"],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [text("17")], "is_error": False},
                    text("And?"),
                ],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"a": 1}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["END"],
        "top_k": 3,
    }
    asked = read_messages(json.dumps(body).replace('"CALL"', call).encode())
    assert asked.messages == CONVERSATION
    assert asked.messages[2].calls[0].text == RAW
    assert asked.hints == Hints(minted={2: ("s", "c1")})
    assert (asked.tools, asked.tool_choice, asked.tool_name) == (
        (OfferedTool("f", "", {"a": 1}),), "required", "f",
    )  # fmt: skip
    assert (asked.thinking, asked.sampling.stop, asked.sampling.top_k) == ("on", ("END",), 3)


USER = {"role": "user", "content": "x"}


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [USER, fields]}


def turn(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"messages": [USER, {"role": role, "content": list(blocks)}, USER]}


DEEP = json.loads('{"a":' * 65 + "1" + "}" * 65)
SHALLOW = json.loads('{"a":' * 62 + "1" + "}" * 62)

REFUSED_RESPONSES = [
    ({"tools": [{"type": "function", "name": "f", "parameters": DEEP}]}, "tools", "deeper than 64"),
    ({"tools": [{"type": "function", "name": "f", "parameters": 5}]}, "tools", "must be a JSON schema"),
    ({"tools": [{"type": "function", "name": "f", "description": {}}]}, "tools", "description"),
    ({"input": []}, "input", "empty"),
    ({"input": 5}, "input", "int"),
    (item(role="tool", content="x"), "input", "tool"),
    (item(role="user", content=[{"type": "input_image", "image_url": "x"}]), "input", "input_image"),
    (item(type="item_reference", id="m"), "input", "item_reference"),
    (item(type="function_call", call_id="c", arguments="{}"), "input", "name"),
    (item(type="function_call", call_id="c", name="f", arguments={}), "input", "object"),
    (item(type="function_call_output", output="x"), "input", "call_id"),
    (item(type="function_call_output", call_id="c9", output="x"), "input", "c9"),
    ({"tools": [{"type": "web_search"}]}, "tools", "web_search"),
    ({"tools": [{"type": "function"}]}, "tools", "name"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice", "required"),
    ({"reasoning": {"effort": "high"}}, "reasoning.effort", "none"),
    ({"reasoning": {"depth": 1}}, "reasoning.depth", "unknown"),
    ({"include": ["file_search_call.results"]}, "include", "file_search"),
    ({"text": {"format": {"type": "json_object"}}}, "text.format", "not served"),
    ({"text": {"verbosity": "low"}}, "text.verbosity", "not served"),
    ({"truncation": "auto"}, "truncation", "disabled"),
    ({"background": True}, "background", "background"),
    ({"conversation": "c"}, "conversation", "conversation"),
    ({"temperatur": 1}, "temperatur", "unknown"),
]

REFUSED_MESSAGES = [
    ({"tools": [{"name": "f", "input_schema": DEEP}]}, "tools", "deeper than 64"),
    ({"messages": []}, "messages", "empty"),
    ({"max_tokens": None}, "max_tokens", "required"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages", "system"),
    ({"messages": [USER, {"role": "assistant", "content": "It"}]}, "messages", "begun"),
    (turn({"type": "image", "source": {}}), "messages", "image"),
    (turn({"type": "text"}), "messages", "no text"),
    (turn({"type": "tool_result"}), "messages", "tool_use_id"),
    (turn({"type": "tool_result", "tool_use_id": "c9"}), "messages", "c9"),
    (
        turn({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image"}]}),
        "messages",
        r"messages\[1\]\.content\[0\]\.content\[0\] .*image",
    ),
    (turn({"type": "redacted_thinking", "data": "x"}, role="assistant"), "messages", "redacted"),
    (turn({"type": "tool_use", "name": "f"}, role="assistant"), "messages", "needs an id"),
    ({"system": [{"type": "image"}]}, "system", "image"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools", "bash"),
    ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools", "input_schema"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice", "name"),
    ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "tool_choice", "parallel"),
    ({"thinking": {"type": "some"}}, "thinking", "adaptive"),
    ({"thinking": {"type": "adaptive", "display": "whole"}}, "thinking.display", "or omitted"),
    ({"stop_sequences": [""]}, "stop_sequences", "characters"),
    ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config.format", "served"),
    ({"mcp_servers": [{"url": "x"}]}, "mcp_servers", "not served"),
    ({"stop": ["x"]}, "stop", "unknown"),
]


@pytest.mark.parametrize(
    ("read", "body", "param", "found"),
    [
        *((read_responses, {"input": "x", **body}, *rest) for body, *rest in REFUSED_RESPONSES),
        *(
            (read_messages, {"max_tokens": 5, "messages": [USER], **body}, *rest)
            for body, *rest in REFUSED_MESSAGES
        ),
    ],
)
def test_bad_fields_are_named(read: Any, body: dict[str, Any], param: str, found: str) -> None:
    with pytest.raises(HttpError, match=found) as refused:
        read(json.dumps(body).encode())
    assert (refused.value.status, refused.value.param) == (400, param)


def test_a_schema_that_is_deep_is_refused_before_it_is_written() -> None:
    formats = [
        (
            read_chat,
            {"messages": [USER]},
            "response_format",
            lambda schema: {"json_schema": {"schema": schema}},
        ),
        (read_responses, {"input": "x"}, "text", lambda schema: {"format": {"schema": schema}}),
        (
            read_messages,
            {"max_tokens": 5, "messages": [USER]},
            "output_config",
            lambda schema: {"format": {"schema": schema}},
        ),
    ]
    for read, body, field, form in formats:
        for schema in (SHALLOW, DEEP):
            asked = form(schema)
            (asked if field == "response_format" else asked["format"])["type"] = "json_schema"
            sent = json.dumps({**body, field: asked}).encode()
            if schema is SHALLOW:
                assert read(sent, of_engines=True).sampling.structured == {"json_schema": SHALLOW}
                continue
            with pytest.raises(HttpError, match="deeper than 64 levels"):
                read(sent, of_engines=True)


OF_THE_CLIENTS = {"self", "extra_headers", "extra_query", "extra_body", "timeout", "stream_options"}


@pytest.mark.parametrize(
    ("create", "fields"), [(AsyncResponses.create, responses.FIELDS), (AsyncMessages.create, messages.FIELDS)]
)
def test_every_field_of_the_clients_is_known(create: Any, fields: KnownFields) -> None:
    sendable = inspect.signature(create).parameters.keys() - OF_THE_CLIENTS
    assert sendable - {*fields.read, *fields.harmless, *HINTS} == set()


WORDS = [
    "",
    "x",
    "user",
    "assistant",
    "system",
    "text",
    "tool_use",
    "tool_result",
    "thinking",
    "function_call",
]
TEXTS = st.sampled_from([*WORDS, "reasoning", "function_call_output", "{}", "c", "f", "\ud800"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {"type": TEXTS},
    optional={
        **dict.fromkeys(["text", "thinking", "id", "name", "tool_use_id", "content"], TEXTS | VALUES),
        "input": VALUES,
    },
)
CONTENT = TEXTS | st.lists(PARTS, max_size=3) | VALUES
ITEMS = st.fixed_dictionaries(
    {}, optional={name: CONTENT if name == "content" else TEXTS | VALUES for name in Item.__struct_fields__}
)
TURNS = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]) | TEXTS, "content": CONTENT})
QWEN = vocabulary_of(small_map_of("qwen3"))


def others(body: Any, conversation: str) -> st.SearchStrategy[dict[str, Any]]:
    names = [name for name in body.__struct_fields__ if name != conversation]
    return st.dictionaries(st.sampled_from(names) | TEXTS, VALUES, max_size=2)


@pytest.mark.slow
@settings(max_examples=cases(300))
@given(
    items=st.lists(ITEMS, max_size=3) | VALUES,
    turns=st.lists(TURNS, max_size=3) | VALUES,
    more=st.tuples(others(ResponsesBody, "input"), others(MessagesBody, "messages")),
)
def test_anything_is_read_and_written_or_refused(items: Any, turns: Any, more: Any) -> None:
    bodies = {**more[0], "input": items}, {"max_tokens": 5, **more[1], "messages": turns}
    for read, body in zip((read_responses, read_messages), bodies, strict=True):
        refused = None
        try:
            ids = chat_prompt(read(json.dumps(body).encode(), of_engines=True), QWEN)
            assert all(map(QWEN.is_valid, ids))
        except HttpError as error:
            refused = error
        assert refused is None or refused.status == 400
