"""The gateway over HTTP: what its clients send and get, and the ids that its model gets."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codec_agents import telemetry
from codec_agents.dialects import BoundDialect, Message, get_dialect
from codec_agents.engines.vllm import VllmEngine
from codec_agents.server import (
    Affinity,
    EmbeddedServer,
    ScriptedBackend,
    ServerSettings,
    SqliteStore,
    create_app,
)
from codec_agents.server.apis import request as requests
from codec_agents.server.gateway import look_ups, tree
from codec_agents.server.gateway.conversations import Counts
from codec_agents.server.gateway.repeats import Sent
from codec_agents.server.gateway.run_records import ConversationRecords
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.gateway.store import MemoryStore
from codec_agents.server.recording import RecordedExchange, RecordingExchanges
from codec_agents.testing import Call, Cut, Raw, Say, Think, Wait
from codec_agents.vocabularies import bundled_map
from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import FAMILIES, Bench, small_map_of
from tests.agents.engines.stock_servers import StockServer, vllm_completions

pytestmark = pytest.mark.asyncio

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
USER = {"role": "user", "content": "weather?"}


def script(prompt: Any) -> Iterator[Any]:
    if "slow" in prompt.user:
        yield Say("It is slow")
        yield Wait(60)
        return
    if "cut" in prompt.user:
        yield Say("It is su")
        yield Cut()
        return
    yield Think(f"Round {len(prompt.all_results)}.")
    if "weather" in prompt.user and not prompt.all_results:
        yield Say("\n\n")
        yield Call("weather", city="Oslo")
        yield Call("weather", city="Zürich")
        return
    yield Say(f"It is {', '.join(prompt.all_results)}.")


def logprob_of(token: int) -> float:
    return -1 - token / 1000


class Serving:
    """A gateway over HTTP."""

    def __init__(self, server: EmbeddedServer[Gateway], client: httpx.AsyncClient) -> None:
        self.server, self.client = server, client
        self.gateway = server.app

    async def ask(
        self, path: str = "/v1/chat/completions", headers: Any = None, **body: Any
    ) -> httpx.Response:
        return await self.client.post(path, json=body, headers=headers)

    @property
    def generations(self) -> list[RecordedExchange]:
        exchanges = self.gateway.exchanges
        assert isinstance(exchanges, RecordingExchanges)
        return [each for each in exchanges.generations if each.prompt_ids]


@asynccontextmanager
async def serving(family: str = "qwen3", says: Any = script, **options: Any) -> AsyncIterator[Serving]:
    model = small_map_of(family)
    backend = ScriptedBackend.of(model, says, "m", ids_a_frame=3, logprob=logprob_of)
    gateway = Gateway(backend, exchanges=RecordingExchanges(), **options)
    async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url) as client:
        yield Serving(server, client)


def extends(first: RecordedExchange, second: RecordedExchange) -> bool:
    known = [*first.prompt_ids, *first.ids]
    return list(second.prompt_ids[: len(known)]) == known


def of_stream(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


async def test_a_tool_conversation_by_chat_is_extended_though_reasoning_is_dropped() -> None:
    async with serving() as gateway:
        first = await gateway.ask(messages=[USER], tools=[TOOL])
        assert first.headers["x-codec-lineage"] == "new"
        message = first.json()["choices"][0]["message"]
        assert message["reasoning_content"] == "Round 0."
        assert message["content"] is None
        sent = {key: message[key] for key in ("role", "tool_calls")}
        for call in sent["tool_calls"]:
            call["function"]["arguments"] = json.dumps(json.loads(call["function"]["arguments"]), indent=2)
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": text}
            for call, text in zip(sent["tool_calls"], ("sun", "rain"), strict=True)
        ]
        second = await gateway.ask(messages=[USER, sent, *results[::-1]], tools=[TOOL])
        one, two = gateway.generations
        assert second.headers["x-codec-lineage"] == f"extended {len(one.prompt_ids) + len(one.ids)}"
        assert extends(one, two)
        answer = second.json()["choices"][0]["message"]
        assert answer["content"] == "It is sun, rain."
        assert second.json()["usage"]["prompt_tokens"] == len(two.prompt_ids)
        more = [USER, sent, *results[::-1], answer, {"role": "user", "content": "Thanks"}]
        third = await gateway.ask(messages=more, tools=[TOOL])
        assert third.headers["x-codec-lineage"] == "rendered at turn 2 (reasoning)"
        edited = [*more[:-2], {**answer, "content": "It is snow."}, more[-1]]
        fourth = await gateway.ask(messages=edited, tools=[TOOL])
        assert fourth.headers["x-codec-lineage"] == "forked at turn 5"
        metrics = (await gateway.client.get("/metrics")).text
        assert 'codec_gateway_requests_total{lineage="forked"} 1' in metrics
        assert "codec_gateway_turns_total 4" in metrics


@pytest.mark.slow
async def test_one_conversation_by_three_apis_is_one_lineage() -> None:
    """The turn that came by chat is continued by Responses, and that one by Messages."""
    async with serving() as gateway:
        chat = await gateway.ask(messages=[{"role": "user", "content": "Hi"}], stream=True)
        said = "".join(event["choices"][0]["delta"].get("content") or "" for event in of_stream(chat))
        assert said == "It is ."
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": said}]
        responses = await gateway.ask(
            "/v1/responses", input=[*turns, {"role": "user", "content": "On"}], stream=True
        )
        assert responses.headers["x-codec-lineage"] == "rendered at turn 2 (reasoning)"
        turns += [{"role": "user", "content": "On"}, {"role": "assistant", "content": said}]
        messages = await gateway.ask(
            "/v1/messages", messages=[*turns, {"role": "user", "content": "On"}], max_tokens=50
        )
        assert messages.headers["x-codec-lineage"] == "rendered at turn 4 (reasoning)"
        counted = await gateway.ask(
            "/v1/messages/count_tokens", messages=[*turns, {"role": "user", "content": "On"}]
        )
        assert counted.json() == {"input_tokens": len(gateway.generations[-1].prompt_ids)}


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_that_a_client_hides_is_in_its_next_prompt(stream: bool) -> None:
    """It sends the block back as it got it: without a text, and with the signature."""
    tool = {"name": "weather", "input_schema": SCHEMA}
    asked = {"tools": [tool], "max_tokens": 200, "thinking": {"type": "enabled", "display": "omitted"}}
    async with serving() as gateway:
        first = await gateway.ask("/v1/messages", messages=[USER], stream=stream, **asked)
        assert "Round 0." not in first.text
        if stream:
            assert "signature_delta" in first.text
            return
        content = first.json()["content"]
        assert [block["type"] for block in content] == ["thinking", "tool_use", "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "sun"} for block in content[1:]
        ]
        turns = [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
        second = await gateway.ask("/v1/messages", messages=[USER, *turns], **asked)
        one, two = gateway.generations
        assert second.headers["x-codec-lineage"] == f"extended {len(one.prompt_ids) + len(one.ids)}"
        assert extends(one, two)


async def test_a_response_is_continued_by_its_id() -> None:
    async with serving() as gateway:
        tool = {"type": "function", **TOOL["function"]}
        first = (await gateway.ask("/v1/responses", input="weather?", tools=[tool])).json()
        assert first["store"] is True
        calls = [item for item in first["output"] if item["type"] == "function_call"]
        results = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": text}
            for call, text in zip(calls, ("sun", "rain"), strict=True)
        ]
        body = {"input": results, "tools": [tool], "previous_response_id": first["id"]}
        second = await gateway.ask("/v1/responses", **body)
        assert second.headers["x-codec-lineage"].startswith("extended")
        assert extends(*gateway.generations)
        assert second.json()["output"][-1]["content"][0]["text"] == "It is sun, rain."
        told = await gateway.ask("/v1/responses", **body, instructions="Be brief.")
        assert told.headers["x-codec-lineage"] == "new"
        assert told.json()["output"][-1]["content"][0]["text"] == "It is sun, rain."
        for wrong in ("resp_unknown", first["id"][:-1] + ("0" if first["id"][-1] != "0" else "1")):
            refused = await gateway.ask("/v1/responses", **{**body, "previous_response_id": wrong})
            assert refused.status_code == 404
        private = (await gateway.ask("/v1/responses", input="weather?", tools=[tool], store=False)).json()
        refused = await gateway.ask("/v1/responses", **{**body, "previous_response_id": private["id"]})
        assert refused.status_code == 404


def developer(text: str) -> dict[str, str]:
    return {"role": "developer", "content": text}


@pytest.mark.parametrize(
    ("instructions", "then", "systems", "lineage"),
    [
        (None, None, ["A", "B"], "rendered"),
        ("1", None, ["A", "B"], "new"),
        (None, "2", ["2", "A", "B"], "new"),
        ("1", "2", ["2", "A", "B"], "new"),
    ],
)
async def test_behind_a_response_instructions_are_new_ones_and_messages_stay(
    instructions: str | None, then: str | None, systems: list[str], lineage: str
) -> None:
    async with serving() as gateway:
        hi, more = {"role": "user", "content": "hi"}, {"role": "user", "content": "more"}
        first = await gateway.ask("/v1/responses", input=[developer("A"), hi], instructions=instructions)
        asked = {"input": [developer("B"), more], "previous_response_id": first.json()["id"]}
        second = await gateway.ask("/v1/responses", **asked, instructions=then)
        prompt = Detokenizer(gateway.gateway.backend.models[0].vocabulary).render(
            list(gateway.generations[-1].prompt_ids)
        )
    assert re.findall(r"system\n(\w)", prompt) == systems
    assert second.headers["x-codec-lineage"].split()[0] == lineage


@pytest.mark.parametrize("family", ["gemma-3", "mistral-v3"])
async def test_behind_a_response_system_texts_are_one_where_the_family_has_one_place_for_them(
    family: str,
) -> None:
    async with serving(family, lambda _: "ok") as gateway:
        instructed = await gateway.ask("/v1/responses", input="hi", instructions="<1>")
        first = await gateway.ask(
            "/v1/responses", input=[developer("<A>"), {"role": "user", "content": "hi"}]
        )
        more = [developer("<B>"), {"role": "user", "content": "more"}]
        steps = [
            ({"input": more, "instructions": "<2>"}, first, "<2>\n\n<A>\n\n<B>", "new"),
            ({"input": "on", "instructions": "<3>"}, None, "<3>\n\n<A>\n\n<B>", "new"),
            ({"input": "on"}, None, "<A>\n\n<B>", "new"),
            ({"input": "on"}, None, "<A>\n\n<B>", "extended"),
            ({"input": more}, instructed, "<B>", "new"),
        ]
        detokenizer = Detokenizer(gateway.gateway.backend.models[0].vocabulary)
        last = first
        for body, behind, systems, lineage in steps:
            last = await gateway.ask(
                "/v1/responses", **body, previous_response_id=(behind or last).json()["id"]
            )
            assert last.headers["x-codec-lineage"].split()[0] == lineage
            prompt = detokenizer.render(list(gateway.generations[-1].prompt_ids))
            assert re.findall(r"<\w>(?:\n\n<\w>)*", prompt) == [systems]


async def test_a_conversation_that_grows_for_ever_ends_with_a_reason() -> None:
    """With the last response's id a client sends next to nothing, so its bodies have no limit to reach."""
    async with serving(settings=ServerSettings(max_conversation=12_000)) as gateway:
        first, last = None, None
        for turn in range(20):
            named = {} if last is None else {"previous_response_id": last}
            answer = await gateway.ask("/v1/responses", input=f"question {turn}", **named)
            if answer.status_code != 200:
                break
            last = answer.json()["id"]
            first = first or last
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (
            400,
            "context_length_exceeded",
            "input",
        )
        assert "the limit is 12000; send a shorter history" in error["message"]
        store = gateway.gateway.store
        assert isinstance(store, MemoryStore)
        longest = max(node.whole_size for node in store._by_nonce.values())
        assert 12_000 < longest == store.size < 12_000 + store.size / turn * 1.1, "by one turn at most"
        again = await gateway.ask("/v1/responses", input="And?", previous_response_id=first)
        assert again.headers["x-codec-lineage"].startswith(("extended", "rendered"))
        assert (await gateway.ask("/v1/responses", input="Hi")).headers["x-codec-lineage"] == "new"


@pytest.mark.slow
async def test_the_lanes_of_a_stored_turn_are_those_that_its_client_got() -> None:
    """Calls of Llama are plain JSON, which is an answer where no tools were offered."""
    text = '{"name": "f", "parameters": {"a": 1}}'
    gateway = Gateway(ScriptedBackend.of(small_map_of("llama3"), lambda _: text, "m"))
    tools = [{"type": "function", "function": {"name": "f"}}]
    async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url) as client:
        for offered, lane in (({}, "answer"), ({"tools": tools}, "tool_calls")):
            answer = await client.post("/v1/chat/completions", json={"messages": [USER], **offered})
            message = answer.json()["choices"][0]["message"]
            assert (message["content"] == text, "tool_calls" in message) == (not offered, bool(offered))
            assert isinstance(gateway.store, MemoryStore)
            [*_, node] = gateway.store._by_nonce.values()
            assert [span[0] for span in node.spans] == [lane]


async def test_one_client_never_continues_another() -> None:
    keys = ServerSettings(api_keys=("one", "two"))
    async with serving(settings=keys) as gateway:
        one, two = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
        first = await gateway.ask("/v1/responses", one, input="Hi")
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "It is ."},
            {"role": "user", "content": "On"},
        ]
        assert (await gateway.ask(headers=two, messages=turns)).headers["x-codec-lineage"] == "new"
        team = {**one, "x-codec-tenant": "team"}
        assert (await gateway.ask(headers=team, messages=turns)).headers["x-codec-lineage"] == "new"
        own = await gateway.ask(headers={"x-api-key": "one"}, messages=turns)
        assert own.headers["x-codec-lineage"].startswith("rendered"), "one key, sent in either header"
        body = {"input": "On", "previous_response_id": first.json()["id"]}
        foreign = await gateway.ask("/v1/responses", two, **body)
        unknown = await gateway.ask(
            "/v1/responses", two, **{**body, "previous_response_id": "resp_" + "0" * 36}
        )
        assert foreign.status_code == unknown.status_code == 404
        assert (await gateway.ask("/v1/responses", one, **body)).status_code == 200


@pytest.mark.slow
async def test_passwords_that_a_proxy_checks_tell_clients_apart() -> None:
    async with serving() as gateway:
        one, two = ({"authorization": f"Basic {user}"} for user in ("b25lOng=", "dHdvOng="))
        first = (await gateway.ask("/v1/responses", one, input="Hi")).json()
        body = {"input": "On", "previous_response_id": first["id"]}
        assert (await gateway.ask("/v1/responses", two, **body)).status_code == 404
        assert (await gateway.ask("/v1/responses", one, **body)).status_code == 200


async def test_a_retried_request_gets_the_same_turn() -> None:
    async with serving() as gateway:
        await gateway.ask(messages=[USER], tools=[TOOL], stream=True)
        first = await gateway.ask(messages=[USER], tools=[TOOL])
        for again in ({"x-stainless-retry-count": "1"}, {"x-stainless-retry-count": "2"}):
            second = await gateway.ask(messages=[USER], tools=[TOOL], headers=again)
            assert first.json()["choices"] == second.json()["choices"]
            assert len(gateway.gateway.store) == 2  # type: ignore[arg-type]
        third = await gateway.ask(messages=[USER], tools=[TOOL])
        assert third.json()["choices"] != first.json()["choices"], "ids of another sample"


@pytest.mark.slow
async def test_an_idempotency_key_repeats_its_request_alone() -> None:
    async with serving() as gateway:
        key = {"idempotency-key": "k1"}
        first = await gateway.ask(messages=[USER], headers=key)
        assert (await gateway.ask(messages=[USER], headers=key)).json()["choices"] == first.json()["choices"]
        other = await gateway.ask(messages=[{**USER, "content": "?"}], headers=key)
        assert other.status_code == 409


async def test_a_broken_stream_is_kept_and_can_be_gone_on_with() -> None:
    async with serving() as gateway:
        body = {"messages": [{"role": "user", "content": "cut"}], "stream": True}
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.ask(**body)
        assert gateway.gateway.conversations.counts.broken == 1
        turns = [
            *body["messages"],
            {"role": "assistant", "content": "It is su"},
            {"role": "user", "content": "On"},
        ]
        again = await gateway.ask(messages=turns)
        one, two = gateway.generations
        assert again.headers["x-codec-lineage"] == f"extended {len(one.prompt_ids) + len(one.ids)}"
        assert extends(one, two)


async def test_a_response_behind_a_part_of_an_answer_is_continued_exactly_or_not_at_all() -> None:
    """The store has all that was delivered of an answer, and the client sent back less of it."""
    async with serving() as gateway:
        cut = {"role": "user", "content": "cut"}
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.ask("/v1/responses", input=[cut], stream=True)
        for text, status in (("It is", 400), ("It is su", 200)):
            turns = [cut, {"role": "assistant", "content": text}, {"role": "user", "content": "On"}]
            again = await gateway.ask("/v1/responses", input=turns)
            assert again.headers["x-codec-lineage"].startswith("extended")
            named = {"previous_response_id": again.json()["id"]}
            more = await gateway.ask("/v1/responses", input="More", **named)
            assert (more.status_code, more.headers.get("x-codec-lineage")) in (
                (400, None),
                (200, "rendered at turn 4 (reasoning)"),
            )
            assert more.status_code == status, more.text


@pytest.mark.slow
async def test_frames_are_recorded_as_the_text_that_they_are() -> None:
    async with serving() as gateway:
        frames = await gateway.ask(messages=[{"role": "user", "content": "Hi"}], stream_format="msgpack")
        assert frames.headers["x-codec-lineage"] == "new"
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "It is ."},
            {"role": "user", "content": "On"},
        ]
        assert (await gateway.ask(messages=turns)).headers["x-codec-lineage"].startswith("rendered")


async def test_what_is_refused_says_why_and_is_not_counted_as_a_turn() -> None:
    async with serving() as gateway:
        image = {"type": "image_url", "image_url": {"url": "data:,"}}
        refused = await gateway.ask(messages=[{"role": "user", "content": [image]}])
        assert refused.status_code == 400
        assert "image_url" in refused.json()["error"]["message"]
        lost = {"role": "tool", "tool_call_id": "x", "content": "sun"}
        assert (await gateway.ask(messages=[USER, lost])).status_code == 400
        assert len(gateway.gateway.store) == 0  # type: ignore[arg-type]


@pytest.mark.slow
async def test_a_stop_by_length_is_a_whole_turn() -> None:
    async with serving() as gateway:
        first = await gateway.ask(messages=[{"role": "user", "content": "Hi"}], max_tokens=4)
        message = first.json()["choices"][0]["message"]
        assert first.json()["choices"][0]["finish_reason"] == "length"
        turns = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "On"}]
        second = await gateway.ask(messages=turns)
        assert second.headers["x-codec-lineage"].startswith("rendered")


async def test_a_client_that_leaves_ends_the_generation_and_its_turn_is_kept() -> None:
    async with serving() as gateway:
        body = {"messages": [{"role": "user", "content": "slow"}], "stream": True}
        async with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            got = ""
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    got += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                if got == "It is slow":
                    break
        [exchange] = gateway.generations
        await anyio.to_thread.run_sync(exchange.over.wait)
        assert exchange.closed_by_client is not None
        assert gateway.gateway.conversations.counts.broken == 1
        turns = [*body["messages"], {"role": "assistant", "content": got}, {"role": "user", "content": "On"}]
        again = await gateway.ask(messages=turns)
        assert again.headers["x-codec-lineage"].startswith("extended")


@pytest.mark.slow
async def test_a_retry_waits_for_the_request_that_is_under_way() -> None:
    async with serving() as gateway:
        answers: list[httpx.Response] = []

        async def ask(headers: dict[str, str]) -> None:
            answers.append(await gateway.ask(messages=[USER], tools=[TOOL], headers=headers))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, {"idempotency-key": "k"})
            group.start_soon(ask, {"idempotency-key": "k"})
        one, two = (answer.json()["choices"] for answer in answers)
        assert one == two
        assert len(gateway.gateway.store) == 1  # type: ignore[arg-type]


async def test_the_engine_gets_the_session_the_salt_and_the_priority_of_a_key() -> None:
    source = vocabulary_of(bundled_map("demo/words"))
    turn = [*pick_tokenizer(source).encode_ordinary("It is 17 degrees."), source.special_tokens["<|im_end|>"]]
    routes = {"/v1/completions": vllm_completions(turn)}
    settings = ServerSettings(api_keys=("one", "two"))
    affinity = Affinity(sessions=True, salts=True, priorities={"one": 3})
    async with StockServer(routes) as upstream:
        engine = VllmEngine(upstream.url, api="completions", handshake=False)
        gateway = Gateway(engine, source, "m", affinity=affinity, settings=settings)
        async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url) as client:
            turns = [{"role": "user", "content": "Hi"}]
            for key in ("one", "one", "two"):
                response = await client.post(
                    "/v1/chat/completions", json={"messages": turns}, headers={"x-api-key": key}
                )
                document = response.json()
                turns += [document["choices"][0]["message"], {"role": "user", "content": "On"}]
                usage = document["usage"]
                assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1
    sessions = [headers["x-session-id"] for _, headers, _ in upstream.seen]
    assert sessions[0] == sessions[1] != sessions[2]
    bodies = [body for _, _, body in upstream.seen]
    assert [body.get("priority") for body in bodies] == [3, 3, None]
    assert bodies[0]["cache_salt"] == bodies[1]["cache_salt"] != bodies[2]["cache_salt"]
    assert bodies[1]["prompt"][: len(bodies[0]["prompt"]) + len(turn)] == [*bodies[0]["prompt"], *turn]


async def test_a_span_tells_how_the_prompt_came_about() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.configure(tracer_provider=provider)
    try:
        async with serving() as gateway:
            parent = {"traceparent": f"00-{7:032x}-{9:016x}-01"}
            await gateway.ask(messages=[USER], headers=parent)
            await gateway.ask(messages=[USER, {"role": "assistant", "content": "Mine."}, USER])
    finally:
        telemetry.configure()
    first, second = exporter.get_finished_spans()
    assert first.parent is not None
    assert (first.context.trace_id, first.parent.span_id) == (7, 9)
    assert first.attributes["codec.lineage"] == "new"
    assert (second.attributes["codec.lineage"], second.attributes["codec.lineage.turn"]) == ("forked", 2)
    assert second.attributes["gen_ai.response.finish_reasons"] == ("stop",)


async def test_a_line_that_changes_with_each_request_is_taken_out_by_a_named_filter() -> None:
    def turns(mark: str) -> list[dict[str, str]]:
        system = f"x-header: cc_version=1; cch={mark};\nBe brief.\ncch=2 stays"
        return [{"role": "system", "content": system}, {"role": "user", "content": "Hi"}]

    async with serving(filters=("claude-code-cch",)) as gateway:
        first = await gateway.ask(messages=turns("a1"))
        more = [first.json()["choices"][0]["message"], {"role": "user", "content": "On"}]
        second = await gateway.ask(messages=[*turns("b2"), *more])
        assert second.headers["x-codec-lineage"].startswith("rendered")
        vocabulary = gateway.gateway.backend.models[0].vocabulary
        prompt = Detokenizer(vocabulary).render(gateway.generations[0].prompt_ids)
        assert "cc_version" not in prompt
        assert "Be brief.\ncch=2 stays" in prompt


async def test_values_without_types_are_read_by_the_schemas_of_the_clients_tools() -> None:
    source = msgspec.structs.replace(small_map_of("qwen3-coder"), id="test/coder")
    family, form = Bench("qwen3-coder", source), FAMILIES["qwen3-coder"]
    turn = family.ids([form["one"], form.get("call_end", form["end"])])
    backend = ScriptedBackend.of(source, lambda _: [Raw(turn)], "m")
    async with (
        EmbeddedServer(Gateway(backend, dialect="qwen3-coder")) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):

        async def ask(schema: dict[str, Any]) -> httpx.Response:
            tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
            body = {"messages": [{"role": "user", "content": "Hi"}], "tools": [tool]}
            return await client.post("/v1/chat/completions", json=body)

        for kind, days in (("number", 3), ("string", "3")):
            types = {"city": {"type": "string"}, "days": {"type": kind}}
            message = (await ask({"type": "object", "properties": types})).json()["choices"][0]["message"]
            read = json.loads(message["tool_calls"][0]["function"]["arguments"])
            assert read == {"city": "Oslo", "days": days}
        for wrong in ({"properties": 5}, {"properties": {"a": {"anyOf": {}}}}, {"type": 5}):
            refused = await ask(wrong)
            assert refused.status_code == 400
            assert "is no JSON schema" in refused.json()["error"]["message"]


DEEP = '{"a":' + "[" * 400 + "]" * 400 + "}"
DEEP_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": DEEP}}
DEEP_ITEM = {"type": "function_call", "call_id": "c", "name": "f", "arguments": DEEP}
ANSWER = {"role": "assistant", "content": "a"}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "r"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/responses", {"input": [{"role": "assistant"}]}, 200),
        ("/v1/responses", {"input": [USER, ANSWER]}, 200),
        ("/v1/responses", {"input": [USER, DEEP_ITEM]}, 400),
        (
            "/v1/chat/completions",
            {"messages": [USER, {"role": "assistant", "tool_calls": [DEEP_CALL]}, RESULT]},
            400,
        ),
    ],
    ids=["an empty turn", "a turn of the client's", "deep arguments", "deep arguments in a chat"],
)
async def test_no_history_is_a_failure_of_the_server(path: str, body: Any, status: int) -> None:
    """Not the first time, and not when its beginning is known."""
    async with serving() as gateway:
        assert [(await gateway.ask(path, **body)).status_code for _ in range(3)] == [status] * 3


async def test_the_dialect_of_a_gateway_is_no_other_servers() -> None:
    """Both serve one map; each writes prompts in its own dialect, whichever was made last."""
    source = small_map_of("qwq")
    prompts = []
    backends = [ScriptedBackend.of(source, lambda _: "fine", "m") for _ in range(3)]
    exchanges = [RecordingExchanges() for _ in backends]
    servers = [
        Gateway(backends[0], dialect="qwq", exchanges=exchanges[0]),
        Gateway(backends[1], dialect="qwen3", exchanges=exchanges[1]),
        create_app(backends[2], exchanges=exchanges[2]),
    ]
    for server, seen in zip(servers, exchanges, strict=True):
        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"messages": [{"role": "user", "content": "Hi"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        prompts.append(list(seen.generations[0].prompt_ids))
    written = [
        BoundDialect(get_dialect(name), source).write([Message(role="user", content="Hi")])
        for name in ("qwq", "qwen3")
    ]
    assert prompts == [*written, written[1]]
    assert written[0] != written[1]


async def test_what_grows_with_a_request_runs_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, seen = threading.get_ident(), Counter[tuple[str, bool]]()

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*given: Any) -> Any:
            seen[name, threading.get_ident() == loop] += 1
            return original(*given)

        monkeypatch.setattr(owner, name, watched)

    watch(Sent, "of")  # hashes the body
    watch(tree, "_size_of")
    watch(requests, "characters_of")
    async with serving() as each:
        said = [{"role": role, "content": "x"} for _ in range(300) for role in ("user", "assistant")]
        unread = {"user": "x" * 60_000, "metadata": {"note": "x" * 60_000}}  # long for a step on the loop
        assert (await each.ask(messages=[*said, USER], **unread)).status_code == 200
    turn = ("_size_of", True)
    assert seen == {("of", False): 1, ("characters_of", False): 601, ("_size_of", False): 601, turn: 1}


async def test_turns_are_stored_and_recorded_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short ones too: a disk may be slow. Those of several clients are stored one after another."""
    loop, threads, order = threading.get_ident(), set[int](), list[str]()

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*given: Any) -> Any:
            threads.add(threading.get_ident())
            order.append(f"{name} begins")
            result = original(*given)
            order.append(f"{name} ends")
            return result

        monkeypatch.setattr(owner, name, watched)

    watch(SqliteStore, "find")
    watch(SqliteStore, "add")
    watch(ConversationRecords, "write")
    async with serving(store=SqliteStore(tmp_path / "kept.db"), record=tmp_path / "runs") as gateway:

        async def say(text: str) -> None:
            first = await gateway.ask(messages=[{"role": "user", "content": text}])
            said = [{"role": "user", "content": text}, first.json()["choices"][0]["message"], USER]
            again = await gateway.ask(messages=said)
            assert again.headers["x-codec-lineage"].startswith(("extended", "rendered"))

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(say, f"Hello {number}")
    assert loop not in threads
    stored = [step for step in order if not step.startswith("find")]
    assert stored == ["write begins", "write ends", "add begins", "add ends"] * 16


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
async def test_turns_are_counted_by_the_event_loop_alone(kept: str, tmp_path: Path) -> None:
    """Several threads that count lose counts."""
    threads = set[int]()

    class Watched(Counts):
        def __setattr__(self, name: str, value: Any) -> None:
            threads.add(threading.get_ident())
            super().__setattr__(name, value)

    store = MemoryStore() if kept == "in memory" else SqliteStore(tmp_path / "kept.db")
    async with serving(store=store) as gateway:
        counts = gateway.gateway.conversations.counts = Watched(Counter())
        await gateway.ask(messages=[USER])
    assert (threads, counts.stored) == ({threading.get_ident()}, 1)


async def test_a_short_request_that_names_a_long_conversation_is_read_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_loop: list[bool] = []
    loop, read = threading.get_ident(), look_ups.history_of

    def watched(*given: Any) -> Any:
        on_loop.append(threading.get_ident() == loop)
        return read(*given)

    monkeypatch.setattr(look_ups, "history_of", watched)
    async with serving() as gateway:
        few = await gateway.ask("/v1/responses", input="Hello")
        named = {"previous_response_id": few.json()["id"]}
        assert (await gateway.ask("/v1/responses", input="On", **named)).status_code == 200
        # Each of them may be compared with many equal ones.
        many = [{"role": "user", "content": "x"}] * 100
        assert (await gateway.ask("/v1/responses", input=many)).status_code == 200
    assert on_loop == [True, False, False]


async def test_a_prompt_that_a_short_request_names_counts_as_memory_of_requests() -> None:
    async with serving(settings=ServerSettings(max_bodies=8192)) as gateway:
        last, statuses = {}, []
        for _ in range(3):
            answer = await gateway.ask("/v1/responses", input="x" * 1000, **last)
            statuses.append(answer.status_code)
            last = {"previous_response_id": answer.json().get("id")}
        assert statuses == [200, 200, 503]
        assert gateway.gateway.bodies.left == 8192
        assert (await gateway.ask(messages=[USER])).status_code == 200
