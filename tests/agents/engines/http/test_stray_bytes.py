"""Responses that were not asked for, on connections that idle: no request takes one for its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.http.stray_bytes import HANG_UP
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStreamError

pytestmark = pytest.mark.asyncio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nTransfer-Encoding: chunked\r\n\r\n"


def body(ids: list[int]) -> bytes:
    frame = msgspec.msgpack.encode({"ids": ids, "done": True, "finish_reason": "stop"})
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(frame), frame)


STRAY = {
    "a whole response": HEAD + body([7, 7]),
    "the head of one": HEAD[:40],
    "a line": b"\r\n",
    "a chunk": body([7, 7]),
}


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", STRAY)
async def test_each_request_gets_its_own_answer_or_an_error(words, ask, name, late, transport):
    strayed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                size = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                prompt = json.loads(await reader.readexactly(size))["prompt"]
                writer.write(HEAD + body([prompt[-1]]) + (b"" if late else STRAY[name]))
                await writer.drain()
                if late:
                    await asyncio.sleep(0)
                    writer.write(STRAY[name])
                    await writer.drain()
                strayed.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            strayed.set()  # a client that has refused the stray bytes closes before it sends anything
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    engine = CodecEngine(url, settings=HttpSettings(transport=transport))
    for token in range(20, 32):
        strayed.clear()
        request = msgspec.structs.replace(ask(words), prompt_ids=[5, token])
        # Bytes that arrive after the request was sent cannot be told from an answer by where they came from:
        # what does not parse is an error.
        with contextlib.suppress(EngineStreamError):
            async with engine.stream(request) as stream:
                assert [token async for frame in stream for token in frame.ids] == [token]
        await strayed.wait()  # the stray bytes are in the socket before the next request
        await engine.pool.drainer.wait_briefly()
    await engine.aclose()
    server.close()


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_an_engine_that_repeats_ids_of_requests_shows_whose_answer_it_is(words, ask, transport):
    """The stray answer comes while the next request is under way: nothing but its id tells it apart."""
    received: list[bytes] = []
    connections: list[asyncio.Task] = []

    def answer_to(name: bytes, ids: list[int]) -> bytes:
        return HEAD[:-2] + b"X-Request-Id: " + name + b"\r\n\r\n" + body(ids)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                size = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                name = next(line[14:] for line in lines if line.startswith(b"x-request-id: "))
                prompt = json.loads(await reader.readexactly(size))["prompt"]
                if received:
                    writer.write(answer_to(received[-1], [7, 7]))
                received.append(name)
                writer.write(answer_to(name, [prompt[-1]]))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    engine = CodecEngine(url, settings=HttpSettings(transport=transport))
    outcomes = []
    for token in range(20, 24):
        request = msgspec.structs.replace(ask(words), prompt_ids=[5, token])
        try:
            async with engine.stream(request) as stream:
                assert [token async for frame in stream for token in frame.ids] == [token]
            outcomes.append("right")
        except EngineStreamError as error:
            outcomes.append(str(error))
    assert outcomes[0] == "right"
    assert all("another request" in outcome for outcome in outcomes[1:])
    assert len(set(received)) == 4
    await engine.aclose()
    await asyncio.wait(connections)
    server.close()


async def test_ids_of_the_engines_own_and_of_the_user_are_left_alone(words, ask):
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.decode().lower().partition("x-request-id: ")[2].partition("\r\n")[0])
        writer.write(HEAD[:-2] + b"X-Request-Id: req_of_the_server\r\n\r\n" + body([9]))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for headers in ({}, {"X-Request-ID": "mine"}):
        engine = CodecEngine(url, settings=HttpSettings(headers=headers))
        async with engine.stream(ask(words)) as stream:
            assert [token async for frame in stream for token in frame.ids] == [9]
        await engine.aclose()
    assert seen[1] == "mine"
    assert seen[0] not in ("", "mine")
    server.close()


class Server:
    """Answers each request through `answer(writer, head, last_id, nth)`, and counts the requests of each
    connection; `nth` counts them from 0."""

    def __init__(self, answer: Callable[[asyncio.StreamWriter, bytes, int, int], Awaitable[None]]) -> None:
        self._answer = answer
        self.requests: list[int] = []
        """By connection."""
        self._tasks: list[asyncio.Task] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.current_task())
        here = len(self.requests)
        self.requests.append(0)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).lower():
                size = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-len"))
                asked = json.loads(await reader.readexactly(size))
                self.requests[here] += 1
                last = (asked.get("prompt") or asked["token_ids"])[-1]
                await self._answer(writer, head, last, self.requests[here] - 1)
        writer.close()


async def outcomes(engine, ask, words, tokens: range) -> list[str]:
    """Ask for each token, and return for each answer whether it was the right one, or its error."""
    found = []
    for token in tokens:
        request = msgspec.structs.replace(ask(words), prompt_ids=[5, token])
        try:
            async with engine.stream(request) as stream:
                ids = [token async for frame in stream for token in frame.ids]
            found.append("right" if ids == [token] else "wrong")
        except EngineStreamError as error:
            found.append(str(error))
        await engine.pool.drainer.wait_briefly()
    return found


@pytest.mark.skipif(not HANG_UP, reason="the system cannot tell bytes from an end")
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_after_stray_bytes_no_connection_carries_a_second_request(words, ask, transport):
    """What comes in time to be seen is a warning of what may come too late."""

    async def answer(writer, head: bytes, last: int, nth: int) -> None:
        writer.write(HEAD + body([last]))
        await writer.drain()
        if server.requests == [1]:
            await asyncio.sleep(0)
            writer.write(HEAD + body([7, 7]))
            await writer.drain()
        strayed.set()

    strayed = asyncio.Event()
    server = Server(answer)
    async with server.open() as url:
        async with aclosing(CodecEngine(url, settings=HttpSettings(transport=transport))) as engine:
            assert await outcomes(engine, ask, words, range(20, 21)) == ["right"]
            await strayed.wait()
            # httpx notices bytes that came in the same read as the answer only when it has sent a request.
            (second,) = await outcomes(engine, ask, words, range(20, 21))
            assert second == "right" or "belongs to no request" in second
            assert await outcomes(engine, ask, words, range(20, 24)) == ["right"] * 4
        assert server.requests[-4:] == [1] * 4


async def test_of_two_answers_that_come_together_neither_is_taken(words, ask):
    """The first is the wrong one, where an earlier request has used the connection."""

    async def answer(writer, head: bytes, last: int, nth: int) -> None:
        writer.write((HEAD + body([7, 7]) if nth else b"") + HEAD + body([last]))
        await writer.drain()

    server = Server(answer)
    async with server.open() as url:
        async with aclosing(CodecEngine(url, settings=HttpSettings(transport="aiohttp"))) as engine:
            first, second, *others = await outcomes(engine, ask, words, range(20, 26))
        assert (first, others) == ("right", ["right"] * 4)
        assert "two answers" in second
        assert server.requests == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_without_keeping_connections_no_answer_is_another_requests(words, ask, transport):
    """An engine that is one answer behind on each connection, which nothing but an id would show."""
    behind: dict[object, bytes] = {}

    async def answer(writer, head: bytes, last: int, nth: int) -> None:
        writer.write(HEAD + body([last]) if nth == 0 else behind[writer])
        behind[writer] = HEAD + body([last])
        await writer.drain()

    server = Server(answer)
    async with server.open() as url:
        settings = HttpSettings(transport=transport, keep_alive=False)
        async with aclosing(CodecEngine(url, settings=settings)) as engine:
            assert await outcomes(engine, ask, words, range(20, 24)) == ["right"] * 4
        assert server.requests == [1, 1, 1, 1]


@pytest.mark.parametrize("cut", [None, 40])
async def test_ids_of_events_show_whose_answer_it_is(words, ask, cut):
    """vLLM names its events after the request, and repeats the request's id in no header."""
    named: list[str] = []

    async def answer(writer, head: bytes, last: int, nth: int) -> None:
        named.append(head.decode().partition("x-request-id: ")[2].partition("\r\n")[0])
        event = {
            "request_id": f"generate-tokens-{named[-2:][0]}",
            "choices": [{"index": 0, "token_ids": [last]}],
        }
        end = {"choices": [{"index": 0, "token_ids": [], "finish_reason": "stop"}]}
        text = b"".join(b"data: %s\n\n" % json.dumps(part).encode() for part in (event, end))
        writer.write(HEAD.replace(b"application/x-msgpack", b"text/event-stream"))
        for part in (text[:cut], text[cut:] if cut else b"", b"data: [DONE]\n\n"):
            if part:
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    server = Server(answer)
    async with server.open() as url:
        async with aclosing(VllmEngine(url, api="generate", handshake=False)) as engine:
            first, second, third = await outcomes(engine, ask, words, range(20, 23))
        assert first == "right"
        assert "another request" in second
        assert "another request" in third


async def test_an_id_that_is_cut_off_is_nobodys():
    pool = CodecEngine("http://127.0.0.1:1").pool
    sent = pool.request_id({})["x-request-id"]
    other = pool.request_id({})["x-request-id"]
    twelve = sent[:-1] + "12"
    assert not pool.names_another(f'"id":"{sent}"'.encode(), sent)
    assert pool.names_another(f'"id":"{other}"'.encode(), sent)
    assert pool.names_another(f'"id":"{twelve}"'.encode(), sent[:-1] + "1")
    assert pool.names_another(f'"id":"{sent[:-1]}1"'.encode(), twelve)
    assert not pool.names_another(f'"id":"{sent[:-1]}1'.encode(), twelve)
    assert not pool.names_another(f'"id":"{other}"'.encode(), None)
