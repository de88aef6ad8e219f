"""A chat request as the one value of all APIs."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from codec_agents.dialects import Message, MessageCall
from codec_agents.engines.base import SamplingOptions
from codec_agents.server.apis.chat import read_chat
from codec_agents.server.apis.prompts import chat_prompt
from codec_agents.server.apis.request import ConversationRequest, Hints, OfferedTool
from codec_agents.server.http import HttpError
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "Find.", "parameters": {"a": 1}}}


def read(
    headers: dict[str, str] | None = None, *, of_engines: bool = True, **body: Any
) -> ConversationRequest:
    document = json.dumps({"messages": [USER], **body}).encode()
    return read_chat(document, headers=headers, of_engines=of_engines)


def call(arguments: str, call_id: str = "c1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_messages_calls_and_results() -> None:
    raw = '{"a": 1e2, "a":  "\\u00fc"}'
    asked = read(
        messages=[
            {
                "role": "developer",
                "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}],
            },
            USER,
            {
                "role": "assistant",
                "content": None,
                "reasoning": "Hm.",
                "tool_calls": [call(raw), call("{", "c2")],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "17"},
        ]
    )
    assert asked.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi"),
        Message(
            role="assistant",
            reasoning="Hm.",
            calls=(MessageCall("f", {"a": "ü"}, "c1", raw), MessageCall("f", None, "c2", "{")),
        ),
        Message(role="tool", content="17", call_id="c2"),
    )
    assert [call.text for call in asked.messages[2].calls] == [raw, "{"]
    assert asked.hints.minted == {2: ("c1", "c2")}
    with pytest.raises(HttpError, match="arguments must be a JSON object") as refused:
        chat_prompt(asked, vocabulary_of(small_map_of("qwen3")))
    assert (refused.value.status, refused.value.param) == (400, "messages.tool_calls")


@pytest.mark.parametrize(
    ("sent", "reasoning"),
    [
        ({}, None),
        ({"reasoning_content": " \n"}, None),
        ({"reasoning": "A. ", "reasoning_content": None}, "A. "),
        ({"reasoning": "A. ", "reasoning_content": "A. "}, "A. "),
        ({"reasoning_content": "\u00a0"}, "\u00a0"),
    ],
)
def test_reasoning_sent_back_by_either_name(sent: dict[str, Any], reasoning: str | None) -> None:
    asked = read(messages=[{"role": "assistant", "content": "x", **sent}])
    assert asked.messages[0].reasoning == reasoning


def test_what_the_answer_is_to_be() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = read(
        {"x-stainless-retry-count": "2", "idempotency-key": "k", "x-session-id": "s"},
        model="m",
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        chat_template_kwargs={"enable_thinking": False},
        reasoning_effort="none",
        max_tokens=5,
        max_completion_tokens=7,
        n=2,
        stream=True,
        stream_options={"include_usage": True},
        return_token_ids=True,
        store=False,
        stop="END",
        seed=3,
        min_p=0.1,
        logprobs=True,
        top_logprobs=4,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert asked == ConversationRequest(
        api="chat",
        messages=(Message(role="user", content="Hi"),),
        model="m",
        tools=(OfferedTool("f", "Find.", {"a": 1}),),
        tool_choice="required",
        tool_name="f",
        parallel_calls=False,
        thinking="off",
        sampling=SamplingOptions(
            stop=("END",), seed=3, min_p=0.1, logprobs=4, structured={"json_schema": schema}
        ),
        max_tokens=7,
        count=2,
        stream=True,
        usage=True,
        token_ids=True,
        store=False,
        hints=Hints(retry_count=2, idempotency_key="k", session="s"),
    )


def saying(role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, **fields}]}


BOTH = {"enable_thinking": True, "thinking": False}

REFUSED = [
    (saying("tool", tool_call_id="c9", content="x"), "messages", "c9"),
    (saying("assistant", reasoning="a", reasoning_content="b"), "messages.reasoning", "differ"),
    (saying(content=[{"type": "image_url"}]), "messages", r"content\[0\] .*image_url"),
    (saying(content=[{"type": "input_audio"}]), "messages", "input_audio"),
    ({"tool_choice": "any"}, "tool_choice", "required"),
    ({"tool_choice": {"type": "function"}}, "tool_choice", "required"),
    ({"reasoning_effort": "low"}, "reasoning_effort", "none"),
    ({"chat_template_kwargs": BOTH}, "chat_template_kwargs", "on and off"),
    ({"chat_template_kwargs": {"add_bos": True}}, "chat_template_kwargs.add_bos", "unknown"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "schema"),
    ({"response_format": {"type": "xml"}}, "response_format", "json_object"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs"),
    ({"session_id": 5}, "session_id", "str"),
]


@pytest.mark.parametrize(("body", "param", "found"), REFUSED)
def test_bad_fields_are_named(body: dict[str, Any], param: str, found: str) -> None:
    with pytest.raises(HttpError, match=found) as refused:
        read(**body)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_fields_of_engines_are_refused_where_there_is_none() -> None:
    for field, value in {"min_p": 0.1, "logprobs": True, "response_format": {"type": "json_object"}}.items():
        with pytest.raises(HttpError) as refused:
            read(of_engines=False, **{field: value})
        assert refused.value.param == field


@pytest.mark.asyncio
async def test_ids_on_request_and_reasoning_by_both_names(serve: Any) -> None:
    from codec_agents.testing import Say, Think

    async with (
        serve(lambda _: [Think("Easy."), Say("Fine ☂.")], ids_a_frame=1) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        body = {"messages": [USER], "return_token_ids": True}
        whole = (await client.post("/v1/chat/completions", json=body)).json()
        streamed = (await client.post("/v1/chat/completions", json={**body, "stream": True})).text
    events = [json.loads(line[6:]) for line in streamed.split("\n\n")[:-2]]
    ids = [token for event in events for token in event["choices"][0]["token_ids"]]
    exchange = server.app.exchanges.generations[-1]
    assert ids == whole["choices"][0]["token_ids"]
    assert ids == list(exchange.ids)
    assert events[0]["prompt_token_ids"] == whole["prompt_token_ids"] == list(exchange.prompt_ids)
    message = whole["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "Easy."
    assert "".join(event["choices"][0]["delta"].get("reasoning", "") for event in events) == "Easy."
