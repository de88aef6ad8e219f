"""The calls of a Codec server, as clients of others make them."""

import hashlib
import math

import httpx
import msgspec
import pytest

from codec_agents.server import BridgeBackend, EmbeddedServer, ServerSettings, create_app
from codec_agents.testing import Say, ScriptedEngine, Think
from codec_core.compression import decompressor
from codec_core.frames import CONTENT_TYPES, CodecRequest, decoder, encode_request
from codec_core.tokenizer import pick_tokenizer

pytestmark = pytest.mark.asyncio

TEXT = "It is 17 degrees in Porto, and it is 17 degrees in Lisbon."
MESSAGES = [{"role": "user", "content": "hello"}]
DICTIONARY = bytes(range(256)) * 8


def script(_prompt):
    return [Think("hm"), Say(TEXT)]


def ids_of(body, wire_format):
    reading = decoder(wire_format)
    frames = reading.feed(body)
    reading.close()
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    return [token for frame in frames for token in frame.ids]


@pytest.mark.parametrize("wire_format", CONTENT_TYPES)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_frames_of_every_format_for_prompts_and_messages(serve, words, wire_format, path):
    """`stream_format` implies streaming; frames hold what the model said, with its markers."""
    asked = {"messages": MESSAGES} if "chat" in path else {"prompt": "hello"}
    async with serve(script, ids_a_frame=3) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(path, json={**asked, "stream_format": wire_format})
    exchange = server.app.exchanges.generations[-1]
    assert answer.headers["content-type"] == CONTENT_TYPES[wire_format]
    assert answer.headers["codec-tokenizer-map"] == words.hash
    assert ids_of(answer.content, wire_format) == exchange.ids
    assert words.special_tokens["<|im_end|>"] == exchange.ids[-1]
    if "chat" in path:
        expected = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
        assert list(exchange.prompt_ids) == pick_tokenizer(words).encode(expected)


BINARY = {"msgpack": "application/x-msgpack", "protobuf": "application/x-protobuf"}


@pytest.mark.parametrize("body_format", BINARY)
@pytest.mark.parametrize("wire_format", ["", *CONTENT_TYPES])
async def test_binary_requests(serve, words, body_format, wire_format):
    asked = CodecRequest(
        prompt_ids=(20, 21), max_tokens=9, temperature=0.0, stop=("17",), stream_format=wire_format
    )
    async with serve(script) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(
            "/v1/completions/codec",
            content=encode_request(asked, body_format),
            headers={"content-type": BINARY[body_format]},
        )
    exchange = server.app.exchanges.generations[-1]
    assert list(exchange.prompt_ids) == [20, 21]
    assert ids_of(answer.content, wire_format or "msgpack") == exchange.ids
    assert 0 < len(exchange.ids) <= 9


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-msgpack", b"\xc1"),
        ("application/x-protobuf", b"\xff"),
    ],
)
async def test_binary_requests_that_cannot_be_read(serve, content_type, body):
    async with serve(script) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(
            "/v1/completions/codec", content=body, headers={"content-type": content_type}
        )
    assert answer.status_code == 400
    assert "cannot be read" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", math.nan), ("temperature", -1.0), ("stop", [""]), ("stop", ["x"] * 5)],
)
async def test_binary_requests_have_the_limits_of_the_others(serve, field, value):
    async with serve(script) as server, httpx.AsyncClient(base_url=server.url) as client:
        body = msgspec.msgpack.encode({"prompt_ids": [20], field: value})
        headers = {"content-type": "application/x-msgpack"}
        answer = await client.post("/v1/completions/codec", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


ACCEPTED = [
    (None, False, None),
    ("identity", False, None),
    ("gzip", False, "gzip"),
    ("gzip, br", False, "br"),
    ("zstd", False, None),
    ("zstd, gzip", False, "gzip"),
    ("zstd, br, gzip", True, "zstd"),
    ("gzip;q=0, br;q=0", False, None),
]


@pytest.mark.parametrize(("accepted", "trained", "encoding"), ACCEPTED)
async def test_compression_is_what_the_client_takes(serve, accepted, trained, encoding):
    """zstd only with a trained dictionary, and then it is named."""
    settings = ServerSettings(dictionaries={"msgpack": DICTIONARY} if trained else {})
    async with serve(script, settings=settings) as server, httpx.AsyncClient(base_url=server.url) as client:
        headers = {"accept-encoding": accepted} if accepted is not None else {}
        if accepted is None:
            del client.headers["accept-encoding"]
        body = {"prompt": "hello", "stream_format": "msgpack"}
        async with client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding, Codec-Client-Version"
    name = f"sha256:{hashlib.sha256(DICTIONARY).hexdigest()}"
    assert answer.headers.get("codec-zstd-dict") == (name if encoding == "zstd" else None)
    plain = raw if encoding is None else unpacked(answer.headers, raw, {name: DICTIONARY})
    assert ids_of(plain, "msgpack") == server.app.exchanges.generations[-1].ids


def unpacked(headers, data, dictionaries):
    body = decompressor(headers, dictionaries=dictionaries)
    return body.feed(data) + body.flush()


async def test_the_clients_trace_goes_on_behind_a_bridge(words):
    engine = ScriptedEngine(lambda _: "fine")
    traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    async with (
        EmbeddedServer(create_app(BridgeBackend(engine, words))) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        await client.post("/v1/completions", json={"prompt": "hi"}, headers={**traced, "authorization": "x"})
    assert dict(engine.requests[0].headers) == traced
