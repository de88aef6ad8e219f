"""The end of a body: nobody waits for it, and its connection is used again."""

import asyncio
import contextlib
import time

import anyio
import msgspec
import pytest

from codec_agents.engines import endings
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.transport import HttpSettings
from codec_agents.exceptions import EngineStreamError

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-msgpack\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(ids, done):
    data = msgspec.msgpack.encode({"ids": ids, "done": done})
    return b"%x\r\n%s\r\n" % (len(data), data)


class LateEnds:
    """A server that keeps its connections, and ends each body when `ended` is set."""

    def __init__(self):
        self.ended = asyncio.Event()
        self.accepted = 0
        self.closed = asyncio.Event()

    async def answer(self, reader, writer):
        self.accepted += 1
        with contextlib.suppress(ConnectionError):
            first = asyncio.create_task(reader.read(1))
            while await first:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length:")[2].partition("\r")[0]))
                writer.write(HEAD + chunk([5, 6], False) + chunk([], True))
                first = asyncio.create_task(reader.read(1))
                ended = asyncio.create_task(self.ended.wait())
                await asyncio.wait((first, ended), return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if self.ended.is_set():
                    writer.write(LAST)
        self.closed.set()
        writer.close()


@pytest.fixture
async def late(monkeypatch):
    monkeypatch.setattr(
        endings, "DRAIN_SECONDS", 20.0
    )  # that nobody waits for it shows on a busy machine, too
    server = LateEnds()
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
        server.ended.set()


@pytest.fixture(params=["httpx", "aiohttp"])
async def engine(request, late):
    engine = CodecEngine(late.url, settings=HttpSettings(transport=request.param))
    yield engine
    await engine.aclose()


async def read(engine, request):
    async with engine.stream(request) as stream:
        return [token async for frame in stream for token in frame.ids]


async def test_a_stream_is_over_with_its_last_frame(words, ask, late, engine):
    started = time.perf_counter()
    assert await read(engine, ask(words)) == [5, 6]
    assert time.perf_counter() - started < endings.DRAIN_SECONDS / 2
    assert not late.ended.is_set()


async def test_the_connection_is_used_again_when_the_body_has_ended(words, ask, late, engine):
    await read(engine, ask(words))
    late.ended.set()
    for _ in range(3):
        await read(engine, ask(words))
    assert late.accepted == 1


async def test_a_request_does_not_wait_long_for_an_end_that_does_not_come(words, ask, late, engine):
    await read(engine, ask(words))
    started = time.perf_counter()
    assert await read(engine, ask(words)) == [5, 6]
    assert time.perf_counter() - started < endings.DRAIN_SECONDS / 2
    assert late.accepted == 2


async def test_an_end_that_never_comes_costs_the_connection(words, ask, late, engine, monkeypatch):
    monkeypatch.setattr(endings, "DRAIN_SECONDS", 0.05)
    await read(engine, ask(words))
    with anyio.fail_after(5):
        await late.closed.wait()


async def test_closing_the_engine_waits_for_no_end(words, ask, late, engine):
    await read(engine, ask(words))
    with anyio.fail_after(endings.DRAIN_SECONDS / 2):
        await engine.aclose()
    with anyio.fail_after(5):
        await late.closed.wait()


async def test_what_stands_behind_the_last_frame_is_an_error(words, ask, stock, engine):
    async with stock.RawServer(HEAD + chunk([5], True) + chunk([6], False) + LAST) as server:
        other = CodecEngine(server.url)
        with pytest.raises(EngineStreamError):
            await read(other, ask(words))
        await other.aclose()
