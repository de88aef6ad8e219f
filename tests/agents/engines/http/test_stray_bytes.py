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


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", STRAY)
async def test_each_request_gets_its_own_answer_or_an_error(words, ask, name, late):
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
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    engine = CodecEngine(url, settings=HttpSettings(transport="aiohttp"))
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
