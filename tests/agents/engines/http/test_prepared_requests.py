"""A request that is begun before its prompt is there: nothing goes out early, and no harm can come of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import msgspec
import pytest
from aiohttp.http_writer import StreamWriter

from codec_agents.engines.base import GenerationRequest
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.engine import HttpEngine
from codec_agents.engines.http.prepared_requests import PreparedRequest, PreparedRequests
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStatusError, EngineStreamError
from codec_core.vocabulary import Vocabulary

pytestmark = pytest.mark.asyncio

Ask = Callable[..., GenerationRequest]
FRAME = msgspec.msgpack.encode({"ids": [5], "done": True, "finish_reason": "stop"})
DONE = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nContent-Length: %d\r\n\r\n%s" % (
    len(FRAME),
    FRAME,
)
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


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
    if head.startswith(b"GET"):
        return True
    return len(body) == next(
        int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")
    )


def body_of(request: bytes) -> Any:
    """Return the JSON of a request."""
    return msgspec.json.decode(request.partition(b"\r\n\r\n")[2])


def head_of(request: bytes) -> set[bytes]:
    """Return the lines of a request's head."""
    return set(request.partition(b"\r\n\r\n")[0].split(b"\r\n"))


async def generate(engine: HttpEngine, request: GenerationRequest) -> list[int]:
    async with engine.stream(request) as frames:
        return [token for frame in [frame async for frame in frames] for token in frame.ids]


async def prepare(engine: HttpEngine, request: GenerationRequest) -> None:
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
        assert body_of(sent)["prompt"] == request.prompt_ids
        assert body_of(sent)["temperature"] == 0.5


async def test_a_server_sees_the_same_head_as_that_of_any_request(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        request = ask(words, "hello", headers={"traceparent": "00-1-2-01", "X-Mine": "too"})
        settings = HttpSettings(api_key="k", headers={"X-Tenant": "t", "User-Agent": "mine"})
        for begun_ahead in (True, False):
            engine = CodecEngine(wire.url, settings=settings)
            if begun_ahead:
                await prepare(engine, request)
                await wire.connected(1)
            assert await generate(engine, request) == [5]
            await engine.aclose()
        begun_head, usual_head = map(head_of, wire.requests)
        names = [
            {line for line in head if line.startswith(b"x-request-id")} for head in (begun_head, usual_head)
        ]
        assert all(names)
        begun_head, usual_head = begun_head - names[0], usual_head - names[1]
        assert begun_head == usual_head
        assert begun_head >= {b"traceparent: 00-1-2-01", b"X-Mine: too", b"X-Tenant: t", b"User-Agent: mine"}


async def test_headers_of_one_request_are_not_those_of_the_next(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine = CodecEngine(wire.url)
        for trace in (b"00-1", b"00-2"):
            await prepare(engine, ask(words))
            assert await generate(engine, ask(words, headers={"traceparent": trace.decode()})) == [5]
        await prepare(engine, ask(words))
        assert await generate(engine, ask(words)) == [5]
        await engine.aclose()
        sent = b"".join(wire.requests)
        assert [line for line in sent.split(b"\r\n") if line.startswith(b"traceparent")] == [
            b"traceparent: 00-1",
            b"traceparent: 00-2",
        ]


CALLS: dict[Any, dict[str, Any]] = {
    VllmEngine: {"handshake": False, "api": "generate"},
    SglangEngine: {"handshake": False, "api": "generate"},
    LlamaCppEngine: {"handshake": False},
}


@pytest.mark.parametrize("kind", [CodecEngine, VllmEngine, SglangEngine, LlamaCppEngine, OpenAIEngine])
async def test_requests_to_every_engine_are_begun(
    words: Vocabulary, ask: Ask, kind: Callable[..., HttpEngine]
) -> None:
    async with Wire(lambda _: None) as wire:
        engine = kind(wire.url, **CALLS.get(kind, {}))
        request = ask(words, headers={"traceparent": "00-1"})
        await prepare(engine, request)
        await wire.connected(1)
        assert wire.requests == []
        asking = asyncio.create_task(generate(engine, request))
        await wire.asked()
        asking.cancel()
        await asyncio.wait([asking])
        await engine.aclose()
        assert len(wire.came) == 1
        assert b"traceparent: 00-1" in wire.requests[0]


async def test_one_waits_for_each_node_and_not_more(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine = CodecEngine(wire.url)
        for node in "aba":
            await prepare(engine, ask(words, node=node))
        await wire.connected(2)
        await generate(engine, ask(words, node="b"))
        await generate(engine, ask(words, node="a"))
        await engine.aclose()
        assert len(wire.came) == len(wire.requests) == 2


async def test_content_may_come_before_the_connection_stands(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        assert not wire.came  # the task that connects has not even begun
        async with engine.stream(request) as frames:
            assert [frame.ids async for frame in frames] == [(5,)]
            assert frames.stats.request_sent is not None
        await engine.aclose()
        assert len(wire.came) == 1


async def test_what_the_socket_does_not_take_at_once_follows(words: Vocabulary, ask: Ask) -> None:
    """And the request is only sent when it has all gone there."""
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words, extra={"body": {"padding": "x" * 8_000_000}})
        await prepare(engine, request)
        await wire.connected(1)
        before = time.perf_counter()
        async with engine.stream(request) as frames:
            assert [frame.ids async for frame in frames] == [(5,)]
            assert frames.stats.request_sent is not None
            assert frames.stats.request_sent > before
        await engine.aclose()
        assert len(body_of(wire.requests[0])["padding"]) == 8_000_000


async def test_an_answer_that_comes_before_the_question_is_not_used(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        await prepare(engine, request)
        await wire.connected(1)
        wire.writers[0].write(TIMED_OUT)
        await wire.lost.wait()
        assert await generate(engine, request) == [5]
        await engine.aclose()
        assert len(wire.requests) == 1


async def test_an_answer_in_the_socket_before_the_question_is_not_used(words: Vocabulary, ask: Ask) -> None:
    """It comes after the connection was taken, and before the event loop can read it."""
    request = ask(words)
    async with Wire(lambda _: DONE) as wire:
        engine = CodecEngine(wire.url)
        await prepare(engine, request)
        await wire.connected(1)
        wire.writers[0].write(DONE.replace(FRAME, FRAME.replace(b"\x05", b"\x06")))
        assert await generate(engine, request) == [5]
        await engine.aclose()
        assert len(wire.requests) == 1


async def test_where_heads_are_not_held_back_the_request_goes_the_usual_way(
    words: Vocabulary, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with clients of another version: what has left cannot be written again."""
    write_headers = StreamWriter.write_headers

    async def write_at_once(self: StreamWriter, line: str, headers: Any) -> None:
        await write_headers(self, line, headers)
        self.send_headers()

    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        with monkeypatch.context() as patch:
            patch.setattr(StreamWriter, "write_headers", write_at_once)
            await prepare(engine, request)
            await wire.asked()
        assert await generate(engine, request) == [5]
        await engine.aclose()
        assert b'"prompt"' in wire.requests[-1]


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


async def test_one_that_has_waited_too_long_is_not_used(words: Vocabulary, ask: Ask) -> None:
    async with Wire(lambda _: DONE) as wire:
        engine, request = CodecEngine(wire.url), ask(words)
        engine.pool.prepared_requests = PreparedRequests(max_age=0.0)
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


async def test_an_answer_that_comes_as_its_caller_is_cancelled_is_closed() -> None:
    class Answer:
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    class Content:
        written = True

    answer: Any = Answer()
    content: Any = Content()
    came: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def send(_: Any) -> Any:
        return await came

    prepared = PreparedRequest(content, send, 60.0)
    caller = asyncio.create_task(prepared.response())
    await asyncio.sleep(0)
    came.set_result(answer)
    # One turn of the loop: the answer is there, and its caller has not woken up yet.
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert answer.closed


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
    for settings in (
        HttpSettings(max_connections=2),
        HttpSettings(transport="httpx"),
        HttpSettings(proxy="http://127.0.0.1:9"),
    ):
        engine = CodecEngine("http://127.0.0.1:9", settings=settings)
        assert not engine.pool.prepare("/v1/completions", ask(words).timeouts)
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
