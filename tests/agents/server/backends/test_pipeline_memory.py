"""A served pipeline has a memory: earlier messages, a system text and tools go where the declaration says."""

from __future__ import annotations

import json
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from codec_agents.exceptions import StoreError
from codec_agents.pipeline import Pipeline
from codec_agents.prompts import History
from codec_agents.server import EmbeddedServer, PipelineBackend, ServerSettings, create_app
from codec_agents.server.backends.conversation_file import ConversationFile
from codec_agents.server.backends.conversations import Conversations, Turn
from codec_agents.testing import Call, Say, ScriptedEngine, Think
from codec_agents.vocabularies import bundled_map

pytestmark = pytest.mark.asyncio

CHAT = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {"name": "fares", "description": "d", "parameters": {"type": "object"}},
}


class Prompts:
    """Scripts that keep the prompts that they were asked with."""

    def __init__(self, script: Any) -> None:
        self.seen: list[Any] = []
        self._script = script

    def __call__(self, prompt: Any) -> Any:
        self.seen.append(prompt)
        return self._script(prompt)


def alone(script: Any, **serve: Any) -> Pipeline:
    """One model, whose answer is the pipeline's."""
    pipeline = Pipeline("alone")
    pipeline.input("question")
    pipeline.model(
        "planner",
        engine=ScriptedEngine(script),
        map="demo/bytes",
        prompt={"system": "Plan.", "user": "{question}"},
    )
    pipeline.sink("reader")
    pipeline.connect("question", "planner.question").connect("planner.answer", "reader")
    return pipeline.served(**serve) if serve else pipeline


def desk(planner: Any, writer: Any, **serve: Any) -> Pipeline:
    """Two models of different vocabularies, whose answer comes from the second."""
    pipeline = Pipeline("desk")
    pipeline.input("question")
    pipeline.model("planner", engine=ScriptedEngine(planner), map="demo/bytes", prompt="{question}")
    pipeline.model("writer", engine=ScriptedEngine(writer), map="demo/words", prompt="Notes: {draft}")
    pipeline.sink("reader")
    pipeline.connect("question", "planner.question").connect("planner.answer", "writer.draft")
    pipeline.connect("writer.answer", "reader")
    return pipeline.served(**serve) if serve else pipeline


def serving(pipeline: Pipeline, store: Path | None = None, **settings: Any) -> EmbeddedServer[Any]:
    return EmbeddedServer(create_app(PipelineBackend(pipeline, store=store), ServerSettings(**settings)))


class Client:
    """A conversation, whose messages grow as a client's do."""

    def __init__(self, server: EmbeddedServer[Any], key: str = "", **body: Any) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.settings: dict[str, Any] = {"base_url": server.url, "headers": headers, "timeout": 20}
        self.body = body
        self.messages: list[dict[str, Any]] = []

    async def send(self, *messages: dict[str, Any]) -> httpx.Response:
        self.messages += messages
        async with httpx.AsyncClient(**self.settings) as http:
            answer = await http.post(CHAT, json={"messages": self.messages, **self.body})
        if answer.status_code == 200:
            self.messages.append(answer.json()["choices"][0]["message"])
        return answer

    async def ask(self, text: str) -> str:
        answer = await self.send({"role": "user", "content": text})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])


@pytest.mark.slow
async def test_many_tools_are_written_away_from_the_event_loop() -> None:
    planner = Prompts(lambda _: "p")
    backend = PipelineBackend(desk(planner, lambda _: "w", tools="planner"))
    functions = [
        {**TOOL["function"], "name": f"fares_{number}", "description": "d" * 200} for number in range(80)
    ]
    tools = [{"type": "function", "function": function} for function in functions]
    async with EmbeddedServer(create_app(backend)) as server:
        for _ in range(2):
            await Client(server, tools=tools).ask("to Oslo")
    assert backend._workers.off_loop == 2
    assert len(backend._plans._kept) == 1
    assert len(planner.seen) == 2


async def test_each_model_goes_on_with_its_own_conversation() -> None:
    planner = Prompts(lambda prompt: f"[{prompt.user}]")
    writer = Prompts(lambda prompt: f" Dear: {prompt.user} \n")
    async with serving(desk(planner, writer)) as server:
        client = Client(server)
        await client.ask("to Oslo")
        client.messages[-1]["content"] = client.messages[-1]["content"].strip()
        await client.ask("and back")
        await client.ask("when")
    first, second, third = planner.seen
    assert [message.text for message in third.messages if message.role != "system"] == [
        "to Oslo", "[to Oslo]", "and back", "[and back]", "when",
    ]  # fmt: skip
    assert second.ids[: len(first.ids)] == first.ids
    # Content in a slot of this vocabulary begins with a space of its own.
    said = [message.text for message in writer.seen[1].messages if message.role == "user"]
    assert [text.replace("  ", " ") for text in said] == [
        "Notes: [to Oslo]", "Notes: [and back]",
    ]  # fmt: skip


async def test_an_unknown_conversation_is_refused_where_messages_do_not_tell_all_of_it() -> None:
    async with serving(desk(lambda _: "x", lambda _: "y"), api_keys=("a", "b")) as server:
        mine, other = Client(server, "a"), Client(server, "b")
        await mine.ask("hi")
        other.messages = deepcopy(mine.messages)  # unedited: it is the key alone that is another
        mine.messages[-1]["content"] = "edited"
        for client in (mine, other):
            answer = await client.send({"role": "user", "content": "and"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_conversation")
            assert answer.json()["error"]["param"] == "messages"
        async with httpx.AsyncClient(**mine.settings) as http:
            answer = await http.post("/v1/responses", json={"input": mine.messages})
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("unknown_conversation", "input")


async def test_one_model_that_gets_the_input_alone_takes_any_conversation() -> None:
    planner = Prompts(lambda prompt: f"[{prompt.user}]")
    async with serving(alone(planner)) as server:
        told, sent = Client(server), Client(server)
        await told.ask("one")
        await told.ask("two")
        sent.messages = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "edited"},
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "[one]"},
        ]
        await sent.ask("two")
    contents = [message.text for message in planner.seen[-1].messages]
    assert contents == ["Plan.", "one", "edited", "x", "[one]", "two"]


async def test_a_system_text_goes_behind_the_models_own() -> None:
    planner = Prompts(lambda prompt: "fine")
    async with serving(alone(planner, system="planner")) as server:
        client = Client(server)
        client.messages = [{"role": "system", "content": "Be {brief}."}]
        await client.ask("hi")
        await client.ask("again")
        other = Client(server)
        await other.ask("hi")
    assert [prompt.system for prompt in planner.seen] == [*2 * ["Plan.\n\nBe {brief}."], "Plan."]


def travel(prompt: Any) -> list[Any]:
    if prompt.all_results:
        return [Say(f"Found {' and '.join(prompt.all_results)}.")]
    return [Say("Let me look. "), Call("fares", to="Oslo"), Call("fares", to="Rome")]


@pytest.mark.parametrize("whole", [alone, desk])
async def test_a_clients_tools_suspend_the_run(whole: Any) -> None:
    planner = Prompts(travel)
    arguments = [planner] if whole is alone else [planner, lambda prompt: f"Dear: {prompt.user}"]
    async with serving(whole(*arguments, tools="planner")) as server:
        client = Client(server, tools=[TOOL])
        called = (await client.send({"role": "user", "content": "flights?"})).json()["choices"][0]
        calls = called["message"]["tool_calls"]
        assert called["finish_reason"] == "tool_calls"
        assert [json.loads(call["function"]["arguments"]) for call in calls] == [
            {"to": "Oslo"},
            {"to": "Rome"},
        ]
        early = await client.send({"role": "user", "content": "well?"})
        assert (early.status_code, "results" in early.text) == (400, True)
        client.messages.pop()
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": said}
            for call, said in zip(reversed(calls), ["96 EUR", "12 EUR"], strict=True)
        ]
        answer = (await client.send(*results)).json()["choices"][0]
        assert answer["finish_reason"] == "stop"
        said = called["message"]["content"], answer["message"]["content"]
        again = await client.ask("thanks")
    if whole is alone:
        assert said == ("Let me look. ", "Found 12 EUR and 96 EUR.")
    else:
        assert said == (None, "Dear: Notes:  Let me look. Found 12 EUR and 96 EUR.")
    assert again
    first, second, third = planner.seen
    assert second.ids[: len(first.ids)] == first.ids
    assert third.ids[: len(second.ids)] == second.ids


@pytest.mark.slow
async def test_every_api_converses() -> None:
    pipeline = alone(travel, tools="planner", system="planner")
    async with serving(pipeline) as server, httpx.AsyncClient(base_url=server.url) as http:
        tool = {"name": "fares", "input_schema": {"type": "object"}}
        body = {"max_tokens": 99, "system": "s", "tools": [tool]}
        turns: list[Any] = [{"role": "user", "content": "flights?"}]
        called = (await http.post("/v1/messages", json={**body, "messages": turns})).json()
        assert called["stop_reason"] == "tool_use"
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "1 EUR"}
            for block in called["content"]
            if block["type"] == "tool_use"
        ]
        turns += [
            {"role": "assistant", "content": called["content"]},
            {"role": "user", "content": results},
        ]
        answer = (await http.post("/v1/messages", json={**body, "messages": turns})).json()
        assert answer["content"][0]["text"] == "Found 1 EUR and 1 EUR."
        items: list[Any] = [{"role": "user", "content": "flights?"}]
        body = {"tools": [{"type": "function", "name": "fares"}]}
        called = (await http.post("/v1/responses", json={**body, "input": items})).json()
        items += called["output"]
        items += [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "2 EUR"}
            for item in called["output"]
            if item["type"] == "function_call"
        ]
        answer = (await http.post("/v1/responses", json={**body, "input": items})).json()
        assert answer["output"][0]["content"][0]["text"] == "Found 2 EUR and 2 EUR."


async def test_progress_as_reasoning_or_as_named_events() -> None:
    pipeline = desk(lambda _: [Think("Hm."), Say("x")], lambda _: "y", progress=True)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    async with serving(pipeline) as server, httpx.AsyncClient(base_url=server.url) as http:
        told = (await http.post(CHAT, json=body, headers={"x-codec-progress": "reasoning"})).json()
        message = told["choices"][0]["message"]
        assert message["content"] == "y"
        assert message["reasoning_content"].splitlines() == [
            "planner begins", "planner: finished", "writer begins", "writer: finished",
        ]  # fmt: skip
        streamed = await http.post(
            CHAT, json={**body, "stream": True}, headers={"x-codec-progress": "events"}
        )
        events = [part for part in streamed.text.split("\n\n") if part.startswith("event: codec.progress\n")]
        told = [json.loads(event.partition("data: ")[2]) for event in events]
        assert [(event["event"], event["node"]) for event in told] == [
            ("node_started", "planner"), ("node_finished", "planner"),
            ("node_started", "writer"), ("node_finished", "writer"),
        ]  # fmt: skip
        wrong = await http.post(CHAT, json=body, headers={"x-codec-progress": "loud"})
        assert wrong.status_code == 400
        completion = await http.post(
            "/v1/completions", json={"prompt": "hi"}, headers={"x-codec-progress": "events"}
        )
        assert (completion.status_code, completion.json()["error"]["param"]) == (400, "x-codec-progress")
    quiet = desk(lambda _: "x", lambda _: "y")
    async with serving(quiet) as server, httpx.AsyncClient(base_url=server.url) as http:
        refused = await http.post(CHAT, json=body, headers={"x-codec-progress": "events"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x-codec-progress")


async def test_frames_of_ids_have_no_place_for_calls() -> None:
    async with serving(alone(travel, tools="planner")) as server:
        client = Client(server, tools=[TOOL], stream_format="msgpack")
        refused = await client.send({"role": "user", "content": "flights?"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream_format")


async def test_nothing_that_a_client_writes_becomes_a_control_id() -> None:
    """Not its system text, which becomes a part of a template, nor its tools and results."""
    source = bundled_map("demo/bytes")
    special = frozenset(source.special_tokens.values())
    markers = "".join(source.special_tokens)
    counts = []
    for more in ("", markers):
        planner = Prompts(travel)
        async with serving(alone(planner, system="planner", tools="planner")) as server:
            function = {**TOOL["function"], "description": f"d{more}"}
            client = Client(server, tools=[{**TOOL, "function": function}])
            client.messages = [{"role": "system", "content": f"s{more}"}]
            called = (await client.send({"role": "user", "content": f"u{more}"})).json()["choices"][0]
            calls = called["message"]["tool_calls"]
            results = [{"role": "tool", "tool_call_id": call["id"], "content": f"r{more}"} for call in calls]
            assert (await client.send(*results)).status_code == 200
        counts.append([[token for token in prompt.ids if token in special] for prompt in planner.seen])
    assert counts[0] == counts[1]


@pytest.mark.slow
async def test_conversations_outlast_the_server_and_so_do_runs_that_wait(tmp_path: Path) -> None:
    store, client = tmp_path / "conversations.db", None
    planners = []
    for turn in range(3):
        planner = Prompts(travel)
        planners.append(planner)
        # Declared or given, the file is the same, and so are the conversations in it.
        declared = {"store": str(store)} if turn == 1 else {}
        pipeline = desk(planner, lambda prompt: f"Dear: {prompt.user}", tools="planner", **declared)
        async with serving(pipeline, None if declared else store) as server:
            talking = Client(server, tools=[TOOL])
            talking.messages = [] if client is None else client.messages
            client = talking
            if turn == 0:
                await client.send({"role": "user", "content": "flights?"})
            elif turn == 1:
                calls = client.messages[-1]["tool_calls"]
                results = [
                    {"role": "tool", "tool_call_id": call["id"], "content": "96 EUR"} for call in calls
                ]
                assert (await client.send(*results)).status_code == 200
            else:
                assert await client.ask("thanks")
    first, second, third = (planner.seen[0] for planner in planners)
    assert second.ids[: len(first.ids)] == first.ids
    assert third.ids[: len(second.ids)] == second.ids
    assert oct(store.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("histories", "text"), ("histories", 5), ("histories", b"\x91" * 1000), ("pause", "{}"), ("pause", 5),
        ("histories", msgspec.msgpack.encode({"m": (b"123", b"", 0, None)})),
        ("histories", msgspec.msgpack.encode({"m": (b"", b"", -5, None)})),
        ("key", "text"), ("key", 5), ("delivered", "text"), ("delivered", 1.5), ("delivered", -1),
    ],
)  # fmt: skip
async def test_a_damaged_turn_of_a_file_is_a_typed_error(column: str, value: object, tmp_path: Path) -> None:
    file = ConversationFile(tmp_path / "kept.db")
    whole = {
        "key": b"k",
        "histories": msgspec.msgpack.encode({}),
        "pause": None,
        "delivered": 0,
        column: value,
    }
    file._file.change(
        "INSERT INTO served (key, histories, pause, delivered) VALUES (?, ?, ?, ?)", (*whole.values(),)
    )
    with closing(file), pytest.raises(StoreError, match="cannot be read"):
        list(file.load())


async def test_the_file_of_conversations_is_that_of_the_pipeline_file_unless_another_is_given(
    tmp_path: Path,
) -> None:
    text = """
pipeline: p
serve: {store: kept.db}
nodes: {reader: {engine: "http://127.0.0.1:1", map: demo/bytes, prompt: {user: "{q}"}}}
edges: [q -> reader.q, reader -> answer]
"""
    file = tmp_path / "p.yaml"
    file.write_text(text)
    pipeline = Pipeline.from_yaml(file)
    assert PipelineBackend(pipeline)._store == tmp_path / "kept.db"
    assert PipelineBackend(pipeline, store="other.db")._store == Path("other.db")
    file.write_text(text.replace("serve:", "# serve:"))
    assert PipelineBackend(Pipeline.from_yaml(file))._store is None


async def test_a_file_holds_what_memory_holds(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    histories = {"a/b": History(prompt=[1, 2**31], generated=[3], begin=1, map_hash="h")}
    with closing(ConversationFile(path)) as file:
        with pytest.raises(StoreError, match="another process writes"):
            ConversationFile(path)
        kept = Conversations(most_ids=7, file=file)
        for key in (b"one", b"two", b"three", b"two"):
            kept.keep(key, Turn(histories, delivered=len(key)))
    with closing(ConversationFile(path)) as file:
        again = Conversations(file=file)
        assert again.find(b"one") is None
        assert again.find(b"two") == Turn(histories, None, 3)
        assert [key for key, _ in file.load()] == [b"three", b"two"]


async def test_a_turn_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    histories = {"a": History(prompt=[1], generated=[2], begin=1, map_hash="h")}
    with closing(ConversationFile(tmp_path / "kept.db")) as file:
        kept = Conversations(file=file)
        kept.keep(b"k", Turn(histories, delivered=1))
        file._file.change(
            "CREATE TRIGGER full BEFORE INSERT ON served BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        with pytest.raises(StoreError, match="full"):
            kept.keep(b"k", Turn(histories, delivered=2))
        assert kept.find(b"k") == Conversations(file=file).find(b"k") == Turn(histories, None, 1)
