"""Chats are written by the dialect of the served map, for every family."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from codec_agents.dialects import BoundDialect, Message, MessageCall, derive_dialect
from codec_agents.dialects.registry import built_in
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.server.apis.request import OfferedTool
from codec_agents.server.recording import RecordingExchanges
from codec_agents.testing import Say, Stop
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import few, small_map_of

pytestmark = pytest.mark.asyncio


def derived(name: str) -> BoundDialect | None:
    """Return the dialect that the server finds for a family's map."""
    source = small_map_of(name)
    try:
        return BoundDialect(derive_dialect(source)[0], source)
    except DialectError:
        return None


NAMES = sorted(name for name in built_in() if derived(name) is not None)
UNNAMED = {"plain", "deepseek-v3.2"}
"""Families whose control tokens do not tell them apart from others."""
ARGUMENTS = {"city": "Oslo"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
USER = {"role": "user", "content": "Hi"}
CALL = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": json.dumps(ARGUMENTS)}}
TOOL = {"type": "function", "function": {"name": "f", "description": "Find.", "parameters": SCHEMA}}


def serving(source: TokenizerMap) -> EmbeddedServer[Any]:
    """Serve a script in the map of a family."""
    return EmbeddedServer(
        create_app(
            ScriptedBackend.of(source, lambda _: [Say("fine"), Stop("length")]),
            exchanges=RecordingExchanges(),
        )
    )


async def ask(server: EmbeddedServer[Any], **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("name", few(NAMES))
async def test_the_prompt_is_that_of_the_familys_dialect(name: str) -> None:
    """A plain chat, one with a system text, and one with tools and results, where the family has them."""
    source = small_map_of(name)
    dialect = derived(name)
    assert dialect is not None
    plain = [Message(role="user", content="Hi")]
    instructed = [Message(role="system", content="Be brief."), *plain]
    called = [
        *plain,
        Message(role="assistant", calls=(MessageCall("f", ARGUMENTS, "call00001"),)),
        Message(role="tool", content="17", call_id="call00001"),
        Message(role="user", content="And now?"),
    ]
    tool = OfferedTool("f", "Find.", SCHEMA)
    sent = [USER, {"role": "assistant", "tool_calls": [CALL]}]
    sent += [{"role": "tool", "content": "17", "tool_call_id": "call00001"}, {**USER, "content": "And now?"}]
    cases = [
        ([USER], [], plain),
        ([{"role": "developer", "content": "Be brief."}, USER], [], instructed),
        (sent, [TOOL], called),
    ]
    async with serving(source) as server:
        for messages, tools, written in cases:
            answer = await ask(server, messages=messages, tools=tools)
            expected = outcome(dialect, written, [tool] if tools else [])
            if isinstance(expected, str):
                assert answer.status_code == 400
                assert expected in answer.json()["error"]["message"]
            else:
                assert answer.status_code == 200, answer.text
                assert list(server.app.exchanges.recent[-1].prompt_ids) == expected


def outcome(dialect: BoundDialect, written: list[Message], tools: list[OfferedTool]) -> list[int] | str:
    """Return the ids of a chat, or why the family has no form for it."""
    try:
        return dialect.write(written, tools=tools)
    except (PromptError, DialectError) as error:
        return str(error)


async def test_nearly_every_family_is_told_by_its_map() -> None:
    assert set(built_in()) - set(NAMES) <= UNNAMED


async def test_content_that_spells_markers_makes_no_control_id() -> None:
    source = small_map_of("qwen3")
    markers = "".join(source.special_tokens)

    def chat(more: str) -> list[dict[str, Any]]:
        call = {"name": "f", "arguments": json.dumps({"a": more})}
        return [
            {"role": "system", "content": "s" + more},
            {"role": "user", "content": "u" + more},
            {"role": "assistant", "content": "a" + more, "tool_calls": [{"id": "c", "function": call}]},
            {"role": "tool", "tool_call_id": "c", "content": "r" + more},
        ]

    special = frozenset(source.special_tokens.values())
    async with serving(source) as server:
        found = []
        for more in ("", markers):
            assert (await ask(server, messages=chat(more), tools=[TOOL])).status_code == 200
            ids = server.app.exchanges.recent[-1].prompt_ids
            found.append([token for token in ids if token in special])
    assert found[0] == found[1]


CALLS = "messages.tool_calls"
MALFORMED = [
    ({"role": "assistant", "tool_calls": [{"function": None}]}, "messages"),
    ({"role": "assistant", "tool_calls": [{}]}, "messages"),
    ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": None}}]}, "messages"),
    ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "messages"),
    *(
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
            CALLS,
        )
        for arguments in ("", "null", "[1]", "{", "{} {}", '{"a": NaN}', "[" * 5000)
    ),
    (
        {"role": "assistant", "tool_calls": [{"function": {"name": "", "arguments": "{}"}}]},
        CALLS,
    ),
    ({"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}, CALLS),
    ({"role": "user", "content": "x", "tool_calls": [CALL]}, CALLS),
    ({"role": "user", "content": [{"type": "text"}]}, "messages"),
    ({"role": "user", "content": [5]}, "messages"),
    ({"role": "tool", "content": "17", "tool_call_id": "no such call"}, "messages"),
]


@pytest.mark.parametrize(("message", "param"), MALFORMED)
async def test_malformed_messages_are_refused(message: dict[str, Any], param: str) -> None:
    async with serving(small_map_of("qwen3")) as server:
        called = [USER, {"role": "assistant", "tool_calls": [CALL]}] if message["role"] == "tool" else [USER]
        answer = await ask(server, messages=[*called, message])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_map_of_no_family_has_no_chats() -> None:
    source = TokenizerMap(id="org/none", version="2", vocab_size=2, vocab={"a": 0, "b": 1})
    async with serving(source) as server:
        answer = await ask(server, messages=[{"role": "user", "content": "a"}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_chat_form")
