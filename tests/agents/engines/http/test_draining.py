"""The end of a body: nobody waits for it, and its connection is used again; on asyncio and on trio."""

import asyncio
import select
import threading
import time

import anyio
import msgspec
import pytest
import trio

from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.draining import BodyDrainer
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.exceptions import EngineStreamError
from tests.agents.engines.listening import ThreadedServer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-msgpack\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(ids, done):
    data = msgspec.msgpack.encode({"ids": ids, "done": done})
    return b"%x\r\n%s\r\n" % (len(data), data)


class LateEnds(ThreadedServer):
    """A server that keeps its connections, and ends each body when `ended` is set. Each runs in a thread."""

    def __init__(self, stock):
        super().__init__()
        self.ended = threading.Event()
        self.closed = threading.Event()
        self.more = b""
        """What stands behind the last frame, and comes later."""
        self._read_request = stock.read_http_request
        self.start()

    def stop(self):
        self.ended.set()
        super().stop()

    def _serve(self, connection):
        with connection:
            try:
                while self._read_request(connection) is not None:
                    connection.sendall(HEAD + chunk([5, 6], False) + chunk([], True))
                    if self._ends(connection):
                        connection.sendall(self.more + LAST)
            except OSError:
                pass
        self.closed.set()

    def _ends(self, connection):
        """Wait until the body may end, or the client has gone."""
        while not self.ended.is_set():
            if select.select([connection], [], [], 0.005)[0]:
                return False
        return True


LONG = 20.0
"""Seconds: a test that waited for the end of a body would show it on a busy machine, too."""


@pytest.fixture
def late(stock):
    server = LateEnds(stock)
    yield server
    server.stop()


@pytest.fixture(params=["httpx", "aiohttp"])
async def engine(request, late, anyio_backend_name):
    if (request.param, anyio_backend_name) == ("aiohttp", "trio"):
        pytest.skip("aiohttp runs under asyncio alone")
    engine = CodecEngine(late.url, settings=HttpSettings(transport=request.param))
    engine.pool.drainer = BodyDrainer(limit=LONG)
    yield engine
    await engine.aclose()


async def read(engine, request):
    async with engine.stream(request) as stream:
        return [token async for frame in stream for token in frame.ids]


async def test_a_stream_is_over_with_its_last_frame(words, ask, late, engine):
    assert await read(engine, ask(words)) == [5, 6]
    assert not late.ended.is_set()


async def test_the_connection_is_used_again_when_the_body_has_ended(words, ask, late, engine):
    engine.pool.drainer = BodyDrainer(limit=LONG, moment=5.0)
    await read(engine, ask(words))
    late.ended.set()
    for _ in range(3):
        await read(engine, ask(words))
    assert late.accepted == 1


async def test_a_request_does_not_wait_long_for_an_end_that_does_not_come(words, ask, late, engine):
    await read(engine, ask(words))
    with anyio.fail_after(LONG / 2):
        assert await read(engine, ask(words)) == [5, 6]
    assert late.accepted == 2


async def test_an_end_that_never_comes_costs_the_connection(words, ask, late, engine):
    engine.pool.drainer = BodyDrainer(limit=0.05)
    await read(engine, ask(words))
    assert await anyio.to_thread.run_sync(late.closed.wait, 5)


async def test_closing_the_engine_waits_for_no_end(words, ask, late, engine):
    await read(engine, ask(words))
    with anyio.fail_after(LONG / 2):
        await engine.aclose()
    assert await anyio.to_thread.run_sync(late.closed.wait, 5)


async def test_what_comes_later_than_the_last_frame_is_dropped(words, ask, late, engine):
    engine.pool.drainer = BodyDrainer(limit=LONG, moment=5.0)
    late.more = chunk([7], False)
    await read(engine, ask(words))
    late.ended.set()
    assert await read(engine, ask(words)) == [5, 6]
    assert late.accepted == 1


async def test_what_stands_behind_the_last_frame_in_the_same_chunk_is_an_error(words, ask, stock, engine):
    frames = [
        msgspec.msgpack.encode({"ids": [token], "done": done}) for token, done in ((5, True), (6, False))
    ]
    both = b"".join(frames)
    async with stock.RawServer(HEAD + b"%x\r\n%s\r\n" % (len(both), both) + LAST) as server:
        other = CodecEngine(server.url)
        with pytest.raises(EngineStreamError):
            await read(other, ask(words))
        await other.aclose()


def test_what_is_still_being_read_ends_with_its_event_loop(words, ask, late):
    """Although nothing closes the engine."""
    for run in (asyncio.run, trio.run):
        engine = CodecEngine(late.url, settings=HttpSettings(transport="httpx"))
        engine.pool.drainer = BodyDrainer(limit=LONG)

        async def once(engine=engine):
            await read(engine, ask(words))

        started = time.perf_counter()
        run(once()) if run is asyncio.run else run(once)
        assert time.perf_counter() - started < LONG / 2
        assert late.closed.wait(5)
        late.closed.clear()


def test_trio_as_a_guest_of_asyncio_is_trio(words, ask, late):
    """asyncio has a loop that runs then, and runs nothing of ours."""
    engine = CodecEngine(late.url)
    ids = []

    async def once():
        for _ in range(2):
            ids.append(await read(engine, ask(words)))
            late.ended.set()
        await engine.aclose()

    async def host():
        over = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            once,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=over.set_result,
        )
        (await over).unwrap()

    asyncio.run(host())
    assert ids == [[5, 6], [5, 6]]
