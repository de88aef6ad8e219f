"""Responses that were not asked for, on connections that idle: no request takes one for its own."""

from __future__ import annotations

import asyncio
import contextlib
import json

import msgspec
import pytest

from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
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
