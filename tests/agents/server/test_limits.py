"""Bounds on what one request may cost: bytes, stops, messages, and steps on the event loop."""

import asyncio
import contextlib
import json
import random

import httpx
import pytest

from codec_agents.server import EmbeddedServer, ScriptedBackend, ServedModel, ServerSettings, create_app
from codec_agents.server.apis.chat import read_chat
from codec_agents.server.apis.messages import read_messages
from codec_agents.server.apis.responses import read_responses
from codec_agents.server.bodies import read_completion
from codec_agents.server.http import HttpError, Request
from codec_agents.server.jobs import JobMaker
from codec_agents.server.prompt_texts import MOST_UNCUT, LongText, PromptTexts
from codec_agents.server.workers import LOOP_BYTES, Workers
from codec_agents.testing import Say, Stop
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from tests.agents.dialects.families import small_map_of
from tests.agents.server.steps import ONE_READ, watched_steps

pytestmark = pytest.mark.asyncio

PROSE = "The quick brown fox jumps over the lazy dog, and 12 hens look on. "
MESSAGE = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f"}}


async def ask(server, path="/v1/completions", **body):
    if path == "/v1/completions":
        body = {"prompt": "hi", **body}
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        return await client.post(path, json=body)


class Small(ScriptedBackend):
    """Models of a small context."""

    @property
    def models(self):
        return [ServedModel(model.name, model.vocabulary, 1000) for model in super().models]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": "x" * 2000}, "stop"),
        ({"stop_token_ids": [1] * 40_000}, "stop_token_ids"),
        ({"metadata": {"k": "x" * 70_000}}, "metadata"),
        ({"x" * 200: [[]] * 30_000}, "x" * 80),
    ],
)
async def test_small_fields_are_bounded(serve, body, param):
    async with serve(lambda _: "x") as server:
        answer = await ask(server, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "read",
    [
        lambda twice: read_completion(b'{"prompt":"hi",%b}' % twice),
        lambda twice: read_chat(b'{"messages":[{"role":"user","content":"hi"}],%b}' % twice),
        lambda twice: read_messages(
            b'{"max_tokens":9,"messages":[{"role":"user","content":"hi"}],%b}' % twice
        ),
        lambda twice: read_responses(b'{"input":"hi",%b}' % twice),
    ],
)
async def test_the_first_of_two_fields_of_one_name_is_bounded_too(read):
    """The decoder reads both, and the dictionary that sizes are compared with has the last one alone."""
    tools = b'"tools":[%b],"tools":null' % b",".join([b'{"a":[[],[]]}'] * 100_000)
    with pytest.raises(HttpError, match=r"a field twice|too many items") as refused:
        read(tools)
    assert refused.value.status == 400
    with contextlib.suppress(HttpError):  # the API that has no tools names them
        read(b'"tools":null,"tools":null')


async def test_messages_and_tools_are_bounded(serve):
    settings = ServerSettings(max_messages=3, max_tools=2)
    async with serve(lambda _: "x", settings=settings) as server:
        path = "/v1/chat/completions"
        many = await ask(server, path, messages=[MESSAGE] * 4)
        told = await ask(server, path, messages=[MESSAGE], tools=[TOOL] * 3)
        none = await ask(server, path, messages=[])
    found = [(answer.status_code, answer.json()["error"]["param"]) for answer in (many, told, none)]
    assert found == [(400, "messages"), (400, "tools"), (400, "messages")]


async def test_a_prompt_beyond_the_context_is_named_as_the_api_calls_it():
    bodies = {
        "/v1/completions": ({"prompt": "hi"}, "prompt"),
        "/v1/chat/completions": ({"messages": [MESSAGE]}, "messages"),
    }
    async with EmbeddedServer(create_app(Small.of(bundled_map("demo/words"), lambda _: "x"))) as server:
        for path, (body, field) in bodies.items():
            error = (await ask(server, path, max_tokens=1000, **body)).json()["error"]
            assert (error["code"], error["param"]) == ("context_length_exceeded", field)


async def test_a_text_beyond_the_context_is_refused_before_it_is_encoded(monkeypatch):
    encoded = []
    source = bundled_map("demo/words")
    tokenizer = pick_tokenizer(source)
    monkeypatch.setattr(type(tokenizer), "encode_prepared", lambda _, text: encoded.append(text))
    monkeypatch.setattr(type(tokenizer), "settle", lambda _, text, seen=0: encoded.append(text))
    async with EmbeddedServer(create_app(Small.of(source, lambda _: "x"))) as server:
        text = await ask(server, prompt="word " * 100_000, max_tokens=10)
        chat = await ask(
            server,
            "/v1/chat/completions",
            messages=[{**MESSAGE, "content": "word " * 100_000}],
            max_tokens=10,
        )
    for answer, field in ((text, "prompt"), (chat, "messages")):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", field)
        assert "characters" in error["message"]
    assert encoded == []


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_a_run_that_cannot_be_cut_is_refused(path):
    source = small_map_of("qwen3")
    spaces = " " * (MOST_UNCUT + 200_000)
    body = {"prompt": spaces} if path == "/v1/completions" else {"messages": [{**MESSAGE, "content": spaces}]}
    async with EmbeddedServer(create_app(ScriptedBackend.of(source, lambda _: "x"))) as server:
        answer = await ask(server, path, **body)
    assert answer.status_code == 400
    assert "no place to cut" in answer.json()["error"]["message"]


async def test_every_text_that_a_dialect_encodes_is_looked_at(monkeypatch):
    run = "a" + " " * 100
    looked = []

    async def look(_maker, text, _model, _options, field):
        looked.append((text, field))

    monkeypatch.setattr(PromptTexts, "encoded_in_pieces", look)
    arguments = json.dumps({"x": run}).replace("  ", " \\u0020")
    call = {"id": "1", "function": {"name": "f", "arguments": arguments}}
    body = {
        "messages": [
            {**MESSAGE, "content": run},
            {"role": "assistant", "content": "b", "reasoning": f"{run}b", "tool_calls": [call]},
        ],
        "tools": [
            {**TOOL, "function": {"name": "f", "description": f"{run}c", "parameters": {"title": run}}}
        ],
    }
    backend = ScriptedBackend.of(bundled_map("demo/words"), lambda _: "x")
    request = Request("POST", "/v1/chat/completions", {}, {}, json.dumps(body).encode())
    maker = JobMaker(backend, ServerSettings(), Workers(), most_uncut=100)
    await maker.conversation(request, read_chat)
    said = [(run, "messages"), (f"{run}b", "messages"), (json.dumps({"x": run}), "messages")]
    assert looked == [*said, (f"{run}c", "tools"), (json.dumps({"title": run}), "tools")]


@pytest.mark.parametrize("name", ["demo/bytes", "demo/words", "qwen3", "llama3", "gemma-4", "mistral-v3"])
async def test_a_long_text_has_the_ids_of_the_whole(name):
    source = bundled_map(name) if "/" in name else small_map_of(name)
    tokenizer = pick_tokenizer(source)
    draw = random.Random(7)
    parts = [" ", "  ", "\n", "a", "the ", "é", "e\u0301", "\u0301", "中", "12", "'s", *source.special_tokens]
    for _ in range(60):
        text = "".join(draw.choices(parts, k=draw.randrange(40)))
        long = LongText(tokenizer, text, most_ids=10**6, piece=draw.choice([1, 2, 5, 17]))
        while long.step():
            pass
        assert long.ids == tokenizer.encode(text)


async def test_encoding_stops_at_the_limit():
    tokenizer = pick_tokenizer(bundled_map("demo/bytes"))
    long = LongText(tokenizer, PROSE * 100, most_ids=50, piece=10)
    while long.step():
        pass
    assert len(long.ids) <= 50 + 2 * 10


async def test_pieces_of_several_texts_take_turns():
    order = []
    workers = Workers(threads=1)

    async def encode(name):
        for _ in range(6):
            await workers.run(lambda: order.append(name), LOOP_BYTES + 1)

    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(encode(name))
    assert "".join(order) in ("ab" * 6, "ba" * 6)
    assert (workers.off_loop, workers.longest_on_loop) == (12, 0)


PASSED_BY = {
    "Exchange.prompted", "JobMaker._check_prompt", "JobMaker.job", "Job.__init__", "LongText.__init__",
    "PromptReading.__init__", "PromptTexts.encoded", "PromptTexts.encoded_in_pieces", "Request.__init__",
    "Request.with_body", "ScriptedModel.reading",
}  # fmt: skip
"""Functions that keep or pass on a long value: they take the same time whatever its length."""


async def test_no_step_on_the_event_loop_handles_many_bytes(words):
    """Every call on the loop's thread is looked at: none is given more text, bytes or ids than the bound."""
    backend = ScriptedBackend.of(words, lambda _: [Say("fine"), Stop("length")], "words")
    app = create_app(backend)
    with watched_steps() as steps, EmbeddedServer(app) as server:
        long = PROSE * 2_000
        for body in (
            {"prompt": long},
            {"prompt": [20] * 100_000},
            {"prompt": [[20] * 100_000]},
            {"prompt": "short", "stop": ["x"] * 100_000},
            {"messages": [{**MESSAGE, "content": long}], "tools": [TOOL] * 300},
            {"messages": [MESSAGE] * 2_000},
            {"prompt": [20] * 99_999 + [10**7]},
        ):
            path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
            answer = await ask(server, path, **body)
            assert answer.status_code in (200, 400), answer.text
    handled = steps.beyond(ONE_READ)
    assert handled.keys() - PASSED_BY == set(), handled
    assert app.workers.longest_on_loop <= LOOP_BYTES
    assert app.workers.off_loop > 0
