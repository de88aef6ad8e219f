"""The server's HTTP surface."""

import asyncio
import hashlib
import inspect
import json
import re

import anyio
import httpx
import pytest

from codec_agents.server import EmbeddedServer, ScriptedBackend, ServerSettings, create_app
from codec_agents.server import serve as serve_forever
from codec_agents.server.backends.backend import BrokenOffError
from codec_agents.server.delivery import MOST_WAITING, Gathering
from codec_agents.testing import Call, Cut, Say, Think, Wait, scripted_server, turns
from codec_agents.vocabularies import bundled_map, bundled_map_bytes
from codec_core.detokenizer import detokenize
from codec_core.frames import SCHEMA, CodecFrame, decoder
from codec_core.maps import hash_map
from codec_core.tokenizer import pick_tokenizer

pytestmark = pytest.mark.asyncio

HEAD = (
    b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n"
)
TEXT = "It is 17 degrees in Porto ☂️."


def post(client, path="/v1/completions", *, headers=None, **body):
    return client.post(path, json={"prompt": "hello", **body}, headers=headers)


async def test_frames_carry_exactly_what_was_generated(serve, words):
    async with (
        serve(lambda _: [Think("hm"), Say(TEXT)], ids_a_frame=3) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await post(client, stream_format="msgpack")
    frames = decoder("msgpack").feed(answer.content)
    assert answer.headers["content-type"] == "application/x-msgpack"
    assert answer.headers["codec-tokenizer-map"] == words.hash
    assert answer.headers["vary"] == "Accept-Encoding, Codec-Client-Version"
    assert [token for frame in frames for token in frame.ids] == server.app.exchanges.recent[-1].ids
    assert frames[-1].done


async def test_text_and_ids_are_the_same_prompt(serve, words):
    prompt = "<|im_start|>user\nhello<|im_end|>\n"
    ids = pick_tokenizer(words).encode(prompt)
    async with serve(lambda _: "fine") as server, httpx.AsyncClient(base_url=server.url) as client:
        for given in (prompt, ids, [prompt], [ids]):
            assert (await post(client, prompt=given)).status_code == 200
            assert list(server.app.exchanges.recent[-1].prompt_ids) == ids


async def test_openai_json_and_events_say_the_same(serve, words):
    async with (
        serve(lambda _: [Think("hm"), Say(TEXT)]) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        whole = (await post(client, return_token_ids=True)).json()
        events = await post(
            client, stream=True, stream_options={"include_usage": True}, return_token_ids=True
        )
    *chunks, usage, end = [line.removeprefix("data: ") for line in events.text.split("\n\n") if line]
    chunks = [json.loads(chunk)["choices"][0] for chunk in chunks]
    [choice] = whole["choices"]
    assert (
        choice["text"] == "".join(chunk["text"] for chunk in chunks) == detokenize(words, choice["token_ids"])
    )
    assert TEXT in choice["text"]
    assert choice["token_ids"] == [token for chunk in chunks for token in chunk["token_ids"]]
    assert choice["prompt_token_ids"] == chunks[0]["prompt_token_ids"]
    assert choice["finish_reason"] == chunks[-1]["finish_reason"] == "stop"
    assert whole["usage"] == json.loads(usage)["usage"]
    assert whole["usage"]["completion_tokens"] == len(choice["token_ids"])
    assert end == "[DONE]"


async def test_refusals_name_the_field(serve, words):
    async with serve(lambda _: "x") as server, httpx.AsyncClient(base_url=server.url) as client:
        for body, status, message in [
            ({"n": 2}, 400, "n must be 1"),
            ({"echo": True}, 400, "echo is not served"),
            ({"stream_format": "text"}, 400, "stream_format 'text' is unknown"),
            ({"prompt": []}, 400, "the prompt is empty"),
            ({"prompt": [10**6]}, 400, "token id 1000000 is out of vocabulary"),
            ({"prompt": ["a", "b"]}, 400, "one request has one prompt"),
            ({"max_tokens": 0}, 400, "max_tokens must be 1 to"),
            ({"model": "other"}, 404, "there are: model-1"),
            ({"temperature": "hot"}, 400, r"\$.temperature"),
        ]:
            answer = await post(client, **body)
            assert answer.status_code == status
            assert re.search(message, answer.json()["error"]["message"])
        broken = await client.post(
            "/v1/completions", content=b"{", headers={"content-type": "application/json"}
        )
        assert broken.status_code == 400
        assert (await client.get("/v1/completions")).status_code == 405
        assert (await client.post("/nowhere")).status_code == 404


async def test_limits_on_body_prompt_and_streams(serve):
    settings = ServerSettings(max_body=2000, max_prompt_ids=5, max_streams=1)
    async with (
        serve(lambda _: [Wait(5), Say("x")], settings=settings) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await post(client, prompt="x" * 3000)).status_code == 413
        assert (await post(client, prompt=[20] * 6)).status_code == 400
        async with client.stream("POST", "/v1/completions", json={"prompt": [20], "stream": True}):
            busy = await post(client, prompt=[20])
            assert busy.status_code == 503
            assert busy.headers["retry-after"] == "1"


async def test_a_body_has_to_come_in_time(serve):
    async with serve(lambda _: "x", settings=ServerSettings(body_within=0.1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEAD % 20 + b'{"prompt"')
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
        await reader.read()  # the connection is given up
        writer.close()


ENDLESS = [Say("half"), Wait(60), Say("never")]


@pytest.mark.slow
async def test_a_generation_has_its_time_and_then_a_proper_end(serve, words):
    async with (
        serve(lambda _: ENDLESS, settings=ServerSettings(generation_within=0.2)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        frames = decoder("msgpack").feed((await post(client, stream_format="msgpack")).content)
        events = (await post(client, stream=True)).text
        whole = await post(client)
    assert [token for frame in frames for token in frame.ids] == pick_tokenizer(words).encode_ordinary("half")
    assert (frames[-1].done, frames[-1].finish_reason) == (True, "error")
    assert '"finish_reason":"error"' in events
    assert events.endswith("data: [DONE]\n\n")
    assert whole.status_code == 503
    assert "out of time" in whole.json()["error"]["message"]


async def test_what_runs_can_be_ended(serve):
    async with serve(lambda _: ENDLESS) as server, httpx.AsyncClient(base_url=server.url) as client:
        body = {"prompt": [20], "stream_format": "protobuf"}
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            chunks = answer.aiter_bytes()
            first = await anext(chunks)
            server.app.end_generations()
            rest = b"".join([chunk async for chunk in chunks])
    assert decoder("protobuf").feed(first + rest)[-1].finish_reason == "error"


async def test_every_key_is_compared_in_constant_time(serve, monkeypatch):
    compared = []

    def compare(given, key):
        compared.append((given, key))
        return given == key

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys = ServerSettings(api_keys=("one", "two", "three"))
    async with (
        serve(lambda _: "x", settings=keys) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await client.get("/v1/models", headers={"Authorization": "Bearer one"})).status_code == 200
    assert compared == [(b"one", b"one"), (b"one", b"two"), (b"one", b"three")]


async def test_keys_are_asked_for_where_there_are_any(serve):
    async with (
        serve(lambda _: "x", settings=ServerSettings(api_keys=("one", "two"))) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        for headers, status in [
            ({}, 401), ({"Authorization": "Bearer no"}, 401), ({"Authorization": "Basic two"}, 401),
            ({"Authorization": "Bearer two"}, 200),
        ]:  # fmt: skip
            assert (await post(client, headers=headers)).status_code == status
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/health")).status_code == 200


async def test_versions(serve):
    async with (
        serve(lambda _: "x", settings=ServerSettings(minimum_version="0.4")) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        old = await post(client, stream_format="msgpack", headers={"Codec-Client-Version": "0.3"})
        silent = await post(client, stream_format="msgpack")
        new = await post(client, stream_format="msgpack", headers={"Codec-Client-Version": "0.5"})
        policy = await client.get("/.well-known/codec/version-policy.json")
    assert (old.status_code, silent.status_code, new.status_code) == (426, 426, 200)
    assert old.headers["codec-min-version"] == "0.4"
    assert old.json() == {
        "error": "codec_version_required",
        "minimum_version": "0.4",
        "required_features": [],
        "client_version": "0.3",
    }  # fmt: skip
    assert policy.json() == {"minimum_version": "0.4", "required_features": []}


async def test_discovery(serve):
    dictionary = b"words and words"
    policy = b'{"id": "org/policy"}\n'
    settings = ServerSettings(dictionaries={"msgpack": dictionary}, policies={"org/policy": policy})
    async with (
        serve(lambda _: "x", settings=settings) as server,
        httpx.AsyncClient(base_url=server.url + "/.well-known/codec/") as client,
    ):
        index = (await client.get("index.json")).json()
        pointer = index["maps"][0]
        document = (await client.get(pointer["url"])).content
        digest = hashlib.sha256(dictionary).hexdigest()
        assert (await client.get(f"dicts/{digest}.zstd")).content == dictionary
        assert (await client.get("policies/org/policy.json")).content == policy
        found = await client.get(f"policies/sha256/{hashlib.sha256(policy).hexdigest()}.json")
        assert found.content == policy
        assert (await client.get("maps/demo/none.json")).status_code == 404
        assert (await client.get("version-policy.json")).status_code == 404
    assert document == bundled_map_bytes(pointer["id"])
    assert hash_map(document) == pointer["hash"]


async def test_documents(serve, words):
    async with serve(lambda _: "x") as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/codec/schema")).text == SCHEMA
        [model] = (await client.get("/v1/models")).json()["data"]
        assert (model["id"], model["codec_map"]) == ("model-1", words.hash)
        await post(client)
        metrics = (await client.get("/metrics")).text
        assert "codec_server_requests_total 4" in metrics
        assert "codec_server_ids_total 2" in metrics
        head = await client.head("/health")
        length = len((await client.get("/health")).content)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(length))
        server.app.draining = True
        assert (await client.get("/ready")).status_code == 503
        assert (await post(client)).status_code == 503


async def test_a_stop_text_ends_the_answer_with_the_id_that_completes_it(serve, words):
    async with (
        serve(lambda _: "one two three four") as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await post(client, stop="three", stream_format="protobuf")
    frames = decoder("protobuf").feed(answer.content)
    ids = [token for frame in frames for token in frame.ids]
    assert ids == pick_tokenizer(words).encode_ordinary("one two three")
    assert frames[-1].finish_reason == "stop_sequence"


async def test_a_cut_answer_is_cut_on_the_wire(serve):
    async with (
        serve(lambda _: [Say("half"), Cut()]) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await post(client, stream_format="msgpack")


async def test_a_client_that_stops_reading_holds_the_model_back_and_is_dropped(serve):
    settings = ServerSettings(stalled_after=0.4)
    async with serve(lambda _: "word " * 200_000, settings=settings) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        body = b'{"prompt":"x","max_tokens":60000,"stream":true}'
        writer.write(HEAD % len(body) + body)
        await reader.readline()
        exchange = server.app.exchanges.recent[-1]
        assert await asyncio.to_thread(exchange.over.wait, 30)
        assert len(exchange.ids) < 60_000
        writer.transport.abort()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("stalls_at", ["http.response.start", "end"])
async def test_a_client_that_stalls_before_or_behind_the_ids_is_dropped(words, stream, stalls_at):
    """An ASGI server makes the application wait before it takes the head or the end, too."""
    app = create_app(ScriptedBackend.of(words, lambda _: "x"), ServerSettings(stalled_after=0.02))
    body = json.dumps({"prompt": "x", "stream": stream}).encode()
    head = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": head}
    messages = [{"type": "http.request", "body": body}]

    async def receive():
        return messages.pop() if messages else await anyio.sleep_forever()

    async def send(message):
        end = message["type"] == "http.response.body" and not message["more_body"]
        if message["type"] == stalls_at or (end and stalls_at == "end"):
            await anyio.sleep_forever()

    with anyio.fail_after(10):
        await app(scope, receive, send)
    assert app.generating == 0


async def test_a_thread_serves_too(words):
    def run():
        with scripted_server(words, turns("fine"), ids_a_frame=2) as server:
            return httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"}).json()

    assert (await asyncio.to_thread(run))["choices"][0]["text"] == "fine"


async def test_several_models_are_told_apart_by_name_or_map(words):
    backend = ScriptedBackend.of(words, lambda _: "from words", "a")
    backend.add("b", bundled_map("demo/bytes"), lambda _: [Call("f", x=1), Say("from bytes")])
    async with (
        EmbeddedServer(create_app(backend)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        held = bundled_map("demo/bytes").hash
        assert (await post(client)).json()["model"] == "a"
        assert (await post(client, model="b")).json()["model"] == "b"
        assert (await post(client, headers={"X-Codec-Map": held})).json()["model"] == "b"
        mismatch = await post(client, model="a", headers={"X-Codec-Map": held})
        assert mismatch.status_code == 412
        assert mismatch.headers["codec-tokenizer-map"] == words.hash


@pytest.mark.parametrize("size", [1, 3])
async def test_what_is_ready_goes_out_together_and_nothing_waits(size):
    """While a frame is being sent, what comes gathers; the first id, and a last one, wait for nobody."""
    told = [CodecFrame(tuple(range(at, at + size)), done=False) for at in range(0, 12, size)]
    sent, reached = [], anyio.Event()

    async def generated():
        for frame in told:
            yield frame
        reached.set()
        await continued_from.wait()
        yield CodecFrame((99,), done=True, finish_reason="stop")

    continued_from = anyio.Event()
    gathering = Gathering()
    async with anyio.create_task_group() as group:
        group.start_soon(gathering.fill, generated())
        async for frame in gathering:
            sent.append(frame)
            if len(sent) == 1:
                await reached.wait()  # a reader that is slow with its first frame
            if frame.ids[-1] == 11:
                continued_from.set()
            if frame.done:
                break
    assert [token for frame in sent for token in frame.ids] == [*range(12), 99]
    assert len(sent) <= 3
    assert (sent[-1].done, sent[-1].finish_reason) == (True, "stop")


async def test_frames_that_end_without_a_last_one_are_broken_off():
    async def generated():
        yield CodecFrame((1,), done=False)

    gathering = Gathering()
    await gathering.fill(generated())
    assert (await anext(gathering)).ids == (1,)
    with pytest.raises(BrokenOffError):
        await anext(gathering)


async def test_a_reader_that_lags_holds_the_generation_back():
    taken = 0

    async def generated():
        nonlocal taken
        while True:
            taken += 64
            yield CodecFrame(tuple(range(64)), done=False)

    gathering = Gathering()
    async with anyio.create_task_group() as group:
        group.start_soon(gathering.fill, generated())
        await anyio.wait_all_tasks_blocked()
        assert taken == MOST_WAITING
        await anext(gathering)
        await anyio.wait_all_tasks_blocked()
        assert taken == 2 * MOST_WAITING
        group.cancel_scope.cancel()


async def test_it_listens_on_loopback_unless_told_otherwise():
    assert inspect.signature(serve_forever).parameters["host"].default == "127.0.0.1"
