"""Connections on real sockets: what stalls is closed, what is ambiguous is refused, and there is a limit."""

import asyncio
import gc
import json
import logging
import socket
import subprocess
import sys
import tracemalloc
from contextlib import asynccontextmanager

import h11
import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from codec_agents.server import EmbeddedServer, ScriptedBackend, ServerSettings, create_app
from codec_agents.server.hosting.connections import (
    MOST_LINES,
    MOST_SMALL_CHUNKS,
    Listener,
    Parser,
    quiet_down,
)
from codec_agents.testing import Say, Wait
from tests.limits import calls_of

pytestmark = pytest.mark.asyncio

BODY = json.dumps({"prompt": "hello", "max_tokens": 3}).encode()
HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"


def head(length=None, *more, path="/v1/completions"):
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *more]
    if length is not None:
        lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def connected(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader):
    """Return the status of an answer, and read its body."""
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
    await reader.readexactly(length)
    return int(lines[0].split()[1])


async def until(condition):
    """Let the event loop go on until something has happened in it."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the server tells of it by no event
            await asyncio.sleep(0)


async def closed(reader):
    """Wait until the server has closed the connection; return what came before."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", HEALTH + b"GET /health HT"])
async def test_a_head_has_to_come_in_time(serve, sent):
    """Also the one after a first request, and also where a byte comes now and then."""
    async with (
        serve(lambda _: "x", settings=ServerSettings(head_within=0.2)) as server,
        connected(server) as (reader, writer),
    ):
        writer.write(sent)
        if sent.startswith(HEALTH):
            assert await answer_of(reader) == 200

        async def trickle():
            while True:
                await asyncio.sleep(0.05)
                writer.write(b"X")

        trickling = asyncio.create_task(trickle())
        assert await closed(reader) == b""
        trickling.cancel()


async def test_a_body_that_nothing_reads_has_to_end_in_time(serve):
    """The request is refused on its head; what still comes is thrown away, for a while."""
    settings = ServerSettings(head_within=0.2, api_keys=("key",))
    async with serve(lambda _: "x", settings=settings) as server, connected(server) as (reader, writer):
        writer.write(head(1_000_000) + b"{")
        assert await answer_of(reader) == 401
        assert await closed(reader) == b""


async def test_a_refused_body_leaves_a_connection_that_can_be_used(serve):
    async with (
        serve(lambda _: "x", settings=ServerSettings(api_keys=("key",))) as server,
        connected(server) as (reader, writer),
    ):
        writer.write(head(200_000) + b"x" * 200_000)
        assert await answer_of(reader) == 401
        writer.write(HEALTH)
        assert await answer_of(reader) == 200


LONG = b"x" * 30_000_000
"""More than the buffers of two sockets hold."""


ASK_FOR_LONG = b"GET /.well-known/codec/maps/org/long.json HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def test_a_slow_reader_gets_its_document(words):
    """However often the time is over, as long as it has read something in between."""
    app = create_app(ScriptedBackend.of(words, lambda _: "x"), maps={"org/long": LONG})
    async with EmbeddedServer(app) as server, connected(server) as (reader, writer):
        writer.write(ASK_FOR_LONG)
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = server._state.connections
        for _ in range(10):
            if connection.unsent:
                connection._expire()  # as its timer does
            assert len(await reader.readexactly(len(LONG) // 10)) == len(LONG) // 10


async def test_a_client_that_reads_nothing_of_its_document_is_dropped(words):
    backend = ScriptedBackend.of(words, lambda _: "x")
    app = create_app(backend, ServerSettings(head_within=0.2), maps={"org/long": LONG})
    async with EmbeddedServer(app) as server, connected(server) as (reader, writer):
        writer.write(ASK_FOR_LONG)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        await until(lambda: server.connections == 0)


async def test_a_client_that_sends_requests_ahead_and_reads_nothing_is_dropped(words):
    backend = ScriptedBackend.of(words, lambda _: "x")
    app = create_app(backend, ServerSettings(stalled_after=0.1), maps={"org/long": LONG})
    async with EmbeddedServer(app) as server, connected(server) as (_, writer):
        writer.transport.pause_reading()
        writer.write(ASK_FOR_LONG * 2)
        await until(lambda: server.connections == 1)
        await until(lambda: server.connections == app.exchanges.open == 0)


@pytest.mark.parametrize("length", [4, 0, 10**6])
async def test_an_ambiguous_length_closes_the_connection(serve, length):
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with serve(lambda _: "x") as server, connected(server) as (reader, writer):
        writer.write(head(length, "transfer-encoding: chunked") + chunks + smuggled)
        assert await answer_of(reader) == 400
        assert await closed(reader) == b""
        assert server.app.exchanges.total == 0


async def test_chunks_of_next_to_nothing_are_cut_off(serve):
    async with serve(lambda _: "x") as server, connected(server) as (reader, writer):
        writer.write(head(None, "transfer-encoding: chunked") + b"1\r\n \r\n" * (MOST_SMALL_CHUNKS + 1))
        assert await answer_of(reader) == 400
        await closed(reader)
    async with serve(lambda _: "x") as server, connected(server) as (reader, writer):
        part = b"%x\r\n%s\r\n" % (len(BODY), BODY)
        writer.write(head(None, "transfer-encoding: chunked") + part + b"0\r\n\r\n")
        assert await answer_of(reader) == 200


async def test_a_connection_may_have_any_number_of_short_bodies():
    parser = Parser(most_small=3)
    for _ in range(5):
        parser.receive_data(head(2) + b"{}")
        events = [type(parser.next_event()) for _ in range(3)]
        assert events == [h11.Request, h11.Data, h11.EndOfMessage]
        parser.send(h11.Response(status_code=204, headers=[]))
        parser.send(h11.EndOfMessage())
        parser.start_next_cycle()
    parser.receive_data(head(None, "transfer-encoding: chunked") + b"1\r\n \r\n" * 4)
    assert isinstance(parser.next_event(), h11.Request)
    assert [parser.next_event().data for _ in range(3)] == [b" "] * 3
    with pytest.raises(h11.RemoteProtocolError, match="too small"):
        parser.next_event()


@pytest.mark.parametrize("lines", [200, 300, 5_000])
@pytest.mark.parametrize("behind", ["", "2\r\n{}\r\n0\r\n"], ids=["head", "trailers"])
async def test_heads_and_trailers_of_many_lines_are_refused_before_they_are_parsed(lines, behind):
    chunked, many, parser = head(None, "transfer-encoding: chunked"), b"a: b\r\n" * lines + b"\r\n", Parser()
    if behind:
        parser.receive_data(chunked)
        assert isinstance(parser.next_event(), h11.Request)
        assert parser.next_event() is h11.NEED_DATA
    parser.receive_data(behind.encode() + many if behind else chunked[:-2] + many)

    def read():
        while not isinstance(parser.next_event(), h11.EndOfMessage if behind else h11.Request):
            pass

    def refused():
        with pytest.raises(h11.RemoteProtocolError, match="header lines"):
            read()

    if lines > MOST_LINES:
        assert calls_of(refused, in_c=False) < 1_000
    else:
        read()


async def test_a_head_of_many_lines_is_answered_with_400(serve):
    async with serve(lambda _: "x") as server, connected(server) as (reader, writer):
        writer.write(head(2)[:-2] + b"a: b\r\n" * 5_000 + b"\r\n{}")
        assert await answer_of(reader) == 400


async def test_all_bodies_share_a_budget(serve):
    settings = ServerSettings(max_body=1500, max_bodies=2000)
    async with (
        serve(lambda _: "x", settings=settings) as server,
        connected(server) as (reader, writer),
        connected(server) as (other_reader, other_writer),
    ):
        writer.write(head(1500) + b" " * 1200)
        await until(lambda: server.app.bodies.left < 2000)
        other_writer.write(head(1500) + b" " * 1200)
        assert await answer_of(other_reader) == 503
        writer.write(BODY + b" " * (300 - len(BODY)))
        assert await answer_of(reader) == 200
        writer.write(HEALTH)
        assert await answer_of(reader) == 200
        assert server.app.bodies.left == 2000


async def test_a_declared_length_takes_nothing_of_the_budget(serve):
    async with (
        serve(lambda _: "x", settings=ServerSettings(max_body=1500, max_bodies=2000)) as server,
        connected(server) as (_, writer),
        connected(server) as (reader, other_writer),
    ):
        writer.write(head(1500))
        other_writer.write(head(len(BODY)) + BODY)
        assert await answer_of(reader) == 200


@pytest.mark.parametrize("keys", [(), ("key",)])
async def test_nothing_of_a_request_stays(words, keys):
    """Neither of one that is refused on its head, its body or its prompt, nor of one that is answered."""
    app = create_app(ScriptedBackend.of(words, lambda _: "x"), ServerSettings(api_keys=keys))
    prompt = {"prompt": "a b " * 25_000, "max_tokens": 1}
    unknown = {"prompt": [20] * 30_000 + [10**7]}
    bodies = [
        BODY + b" " * 300_000,
        b"[" + b" " * 300_000,
        *(json.dumps(x).encode() for x in (prompt, unknown)),
    ]
    sizes = []
    async with EmbeddedServer(app) as server:
        gc.disable()  # what only a collection would free is still held
        tracemalloc.start()
        try:
            for number in range(16):
                body = bodies[number % len(bodies)]
                async with connected(server) as (reader, writer):
                    writer.write(head(len(body)) + body)
                    assert await answer_of(reader) in (200, 400, 401)
                await until(lambda: app.exchanges.open == 0 and not server._state.tasks)
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
            gc.enable()
    # Kept bodies would add 3 MB in these twelve rounds; a connection that closes may still hold one of them.
    assert min(sizes[-4:]) - sizes[3] < 1_000_000


async def test_the_oldest_idle_connection_makes_room(words):
    app = create_app(ScriptedBackend.of(words, lambda _: [Say("one"), Wait(60), Say("two")]))
    async with EmbeddedServer(app, max_connections=2) as server, connected(server) as (busy, writer):
        body = json.dumps({"prompt": "x", "stream": True}).encode()
        writer.write(head(len(body)) + body)
        await busy.readuntil(b"one")
        for _ in range(5):
            async with connected(server) as (reader, _), connected(server) as (second, second_writer):
                assert await closed(reader) == b""
                second_writer.write(HEALTH)
                assert await answer_of(second) == 200
        assert server.connections <= 2
        assert app.generating == 1


FULL = """
import resource
from codec_agents.server import ScriptedBackend, create_app
from codec_agents.server.hosting.serving import serve
from codec_agents.vocabularies import bundled_map

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
serve(create_app(ScriptedBackend.of(bundled_map("demo/bytes"), lambda _: "x")), port=0)
"""


@pytest.mark.slow
async def test_a_full_table_of_file_descriptors_neither_spins_nor_floods_the_log():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FULL, stderr=subprocess.PIPE)
    lines = []
    try:
        async for line in process.stderr:
            lines.append(line)
            if b"running on" in line:
                break
        port = int(lines[-1].rsplit(b":", 1)[1].split()[0])
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEALTH)
        assert await asyncio.wait_for(answer_of(reader), 20) == 200
        for _, other in [*pairs, (reader, writer)]:
            other.transport.abort()
    finally:
        process.terminate()
        rest = await process.stderr.read()
        await process.wait()
    assert rest.count(b"\n") < 12, rest.decode()


async def test_a_warning_that_a_client_can_cause_is_logged_once_in_a_while(caplog):
    logger = logging.getLogger("test.quiet")
    logger.addFilter(quiet_down(3600))
    for number in range(5):
        logger.warning("Invalid HTTP request received.")
        logger.error("another %d", number)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert [record.levelname for record in caplog.records].count("ERROR") == 5


async def no_application(scope, receive, send):
    raise AssertionError


async def test_connections_that_were_reset_while_they_waited_hold_up_few_turns():
    """A flood of clients that leave must not fill the queue: its overflow costs others 200 ms and more."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    for _ in range(600):
        client = socket.create_connection(listening.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    config = Config(no_application, http="h11", ws="none", lifespan="off")
    listener = Listener(listening, config, ServerState(), {}, settings=ServerSettings())
    turns = 0
    while listener.accepted < 600:
        await asyncio.sleep(0)
        turns += 1
    assert turns < 20
    assert not listener._beginning
    listener.close()
    await listener.wait_closed()


WARM = """
import asyncio, sys, httpx
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.vocabularies import bundled_map
app = create_app(ScriptedBackend.of(bundled_map("demo/words"), lambda prompt: "yes"))
app.warm_up()
BODIES = {
    "/v1/completions": {"prompt": "a", "stream_format": "msgpack"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "/v1/responses": {"input": "a"},
}
async def main():
    async with EmbeddedServer(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        await client.get("/health")
        before = set(sys.modules)
        for path, body in BODIES.items():
            assert (await client.post(path, json=body)).status_code == 200
        print(sorted(name for name in set(sys.modules) - before if name.startswith("codec")))
asyncio.run(main())
"""


@pytest.mark.slow
async def test_the_first_requests_of_a_warm_server_import_nothing():
    """An import holds the event loop for as long as it takes."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WARM, stdout=subprocess.PIPE)
    assert (await process.communicate())[0] == b"[]\n"
