"""A request that is begun before its prompt is there: nothing goes out early, and no harm can come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import msgspec
import pytest

from codec_agents.engines import begun
from codec_agents.engines.base import GenerationRequest
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.transport import HttpSettings
from codec_agents.exceptions import EngineStatusError, EngineStreamError
from codec_core.vocabulary import Vocabulary

pytestmark = pytest.mark.asyncio

Ask = Callable[..., GenerationRequest]
FRAME = msgspec.msgpack.encode({"ids": [5], "done": True, "finish_reason": "stop"})
DONE = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nContent-Length: %d\r\n\r\n%s" % (
    len(FRAME),
    FRAME,
)
LENGTH_REQUIRED = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n"


class Wire:
    """A server on loopback that shows what came over each connection, and answers what it is told to."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self.came: list[bytearray] = []
        """What came over each connection."""
        self.writers: list[asyncio.StreamWriter] = []
        self._news = asyncio.Event()
        self.lost = asyncio.Event()
        """A connection was closed by the client."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came, answered = bytearray(), 0
        self.came.append(came)
        self._news.set()
        self.writers.append(writer)
        try:
            while data := await reader.read(65536):
                came += data
                self._news.set()
                if is_whole(bytes(came[answered:])) and (answer := self._answer(bytes(came))) is not None:
                    answered = len(came)
                    writer.write(answer)
        except ConnectionError:
            pass
        self.lost.set()

    @property
    def requests(self) -> list[bytes]:
        return [bytes(came) for came in self.came if came]

    async def connected(self, count: int) -> None:
        """Wait until so many connections have been made."""
        while len(self.came) < count:
            self._news.clear()
            await self._news.wait()

    async def asked(self) -> None:
        """Wait until something has come."""
        while not self.requests:
            self._news.clear()
            await self._news.wait()


def is_whole(request: bytes) -> bool:
    head, _, body = request.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    if head.startswith(b"GET"):
        return True
    return len(body) == next(
        int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")
    )


def body_of(request: bytes) -> Any:
    """Return the JSON of a request, which is one chunk or all of the body."""
    body = request.partition(b"\r\n\r\n")[2]
    return msgspec.json.decode(body[body.index(b"{") : body.rindex(b"}") + 1])


async def generate(engine: CodecEngine, request: GenerationRequest) -> list[int]:
    async with engine.stream(request) as frames:
        return [token for frame in [frame async for frame in frames] for token in frame.ids]


async def prepare(engine: CodecEngine, request: GenerationRequest) -> None:
    await engine.prepare(msgspec.structs.replace(request, prompt_ids=(), headers={}))


async def test_the_body_follows_over_the_connection_that_waits(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words, "hello " * 900, temperature=0.5)
        await prepare(engine, request)
        await wire.connected(1)
        assert wire.requests == []  # nothing goes out before the body does
        async with engine.stream(request) as frames:
            assert [frame.ids async for frame in frames] == [(5,)]
            assert frames.stats.request_sent is not None
        await engine.aclose()
        assert len(wire.came) == 1
        [sent] = wire.requests
        assert b"Transfer-Encoding: chunked" in sent
        assert body_of(sent)["prompt"] == request.prompt_ids
        assert body_of(sent)["temperature"] == 0.5


async def test_one_waits_for_each_head_and_not_more(
    words: Vocabulary, byte_level: Vocabulary, ask: Ask
) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine = CodecEngine(wire.url)
        for vocabulary in (words, byte_level, words):
            await prepare(engine, ask(vocabulary))
        await wire.connected(2)
        await generate(engine, ask(byte_level))
        await generate(engine, ask(words))
        await engine.aclose()
        assert len(wire.came) == 2
        assert [b"chunked" in request for request in wire.requests] == [True, True]


async def test_a_server_that_wants_the_length_gets_it_from_then_on(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda came: DONE if b"Content-Length" in came else LENGTH_REQUIRED) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        assert await generate(engine, request) == [5]
        assert not engine.pool.begin("/v1/completions", {}, request.timeouts)
        assert await generate(engine, request) == [5]
        await engine.aclose()
        assert b"".join(wire.requests).count(b"chunked") == 1


async def test_a_connection_that_closes_while_it_waits_is_not_told(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        await wire.connected(1)
        wire.writers[0].write_eof()
        await wire.lost.wait()  # the client has seen it, and closed its side
        assert await generate(engine, request) == [5]
        await engine.aclose()
        assert b"Content-Length" in wire.requests[0]


async def test_one_that_breaks_with_its_body_is_told(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: b"") as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        await wire.connected(1)
        asking = asyncio.create_task(generate(engine, request))
        await wire.asked()
        wire.writers[0].close()
        with pytest.raises(EngineStreamError) as broken:
            await asking
        await engine.aclose()
        assert broken.value.transient
        assert len(wire.requests) == 1


async def test_headers_of_a_request_alone_go_the_usual_way(words: Vocabulary, ask: Ask) -> None:
    """A trace's header is not known when the request is begun."""
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words, headers={"traceparent": "00-1-2-01"})
        await prepare(engine, request)
        assert await generate(engine, request) == [5]
        await prepare(engine, request)  # from now on it opens a connection, and no more
        await engine.aclose()
        [sent] = wire.requests
        assert b"traceparent: 00-1-2-01" in sent
        assert b"GET /health" in sent
        assert b"chunked" not in sent


async def test_one_that_has_waited_too_long_is_not_used(
    words: Vocabulary, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun, "BEGUN_FOR", -1.0)
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        assert await generate(engine, request) == [5]
        await engine.aclose()
        assert b"Content-Length" in wire.requests[0]


async def test_leaving_a_stream_closes_the_request_that_was_begun(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: None) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        await wire.connected(1)
        asking = asyncio.create_task(generate(engine, request))
        await wire.asked()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            await wire.lost.wait()
        await engine.aclose()


async def test_closing_the_engine_leaves_nothing_behind(words: Vocabulary, ask: Ask) -> None:
    before = asyncio.all_tasks()
    async with Wire(lambda _: DONE) as wire:
        engine = CodecEngine(wire.url)
        await prepare(engine, ask(words))
        await wire.connected(1)
        await engine.aclose()
        async with asyncio.timeout(5):
            await wire.lost.wait()
    assert {task for task in asyncio.all_tasks() - before if "Wire" not in repr(task)} == set()


async def test_a_small_pool_and_other_clients_keep_to_the_usual_way(words: Vocabulary, ask: Ask) -> None:
    for settings in (HttpSettings(max_connections=2), HttpSettings(transport="httpx")):
        engine = CodecEngine("http://127.0.0.1:9", settings=settings)
        assert not engine.pool.begin("/v1/completions", {}, ask(words).timeouts)
        await engine.aclose()


async def test_a_refusal_is_that_of_any_request(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        with pytest.raises(EngineStatusError) as refused:
            await generate(engine, request)
        await engine.aclose()
        assert refused.value.status == 503
        assert len(wire.requests) == 1
