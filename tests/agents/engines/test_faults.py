"""Faults of servers and networks: each ends in time, as a typed error, with what had arrived kept."""

import threading
import time

import anyio
import msgspec
import pytest

from codec_agents.engines.base import Timeouts
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.exceptions import EngineStatusError, EngineStreamError, EngineTimeoutError
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.testing import Refuse, turns
from codec_core.tokenizer import pick_tokenizer

pytestmark = pytest.mark.anyio

FRAMES = [("content-type", "application/x-msgpack")]


@pytest.fixture(params=["httpx", "aiohttp"])
def engine_at(request):
    return lambda url: CodecEngine(url, settings=HttpSettings(transport=request.param))


def frame(ids, done=False):
    return msgspec.msgpack.encode({"ids": ids, "done": done})


async def read(engine, request, got=None):
    try:
        async with engine.stream(request) as stream:
            async for each in stream:
                if got is not None:
                    got.extend(each.ids)
    finally:
        await engine.aclose()


async def test_a_server_killed_in_mid_stream(words, ask, engine_at):
    backend = ScriptedBackend.of(words, lambda _: "one two three four five six seven", ids_a_second=50)
    async with EmbeddedServer(create_app(backend)) as server:
        engine, got = engine_at(server.url), []

        async def kill_after_the_first():
            async with engine.stream(ask(words)) as stream:
                async for each in stream:
                    got.extend(each.ids)
                    server.drop_connections()

        with anyio.fail_after(5), pytest.raises(EngineStreamError) as broken:
            await kill_after_the_first()
        await engine.aclose()
    assert broken.value.delivered == len(got) > 0
    assert broken.value.transient


async def test_a_server_that_accepts_and_never_answers(words, ask, stock, engine_at):
    release = threading.Event()
    async with stock.RawServer(lambda _: release.wait(5)) as server:
        with pytest.raises(EngineTimeoutError) as slow:
            await read(engine_at(server.url), ask(words, timeouts=Timeouts(first_id=0.3)))
        release.set()
    assert slow.value.phase == "first_id"


async def test_a_head_that_drips_in_byte_by_byte(words, ask, stock, engine_at):
    head = stock.head(200, FRAMES)

    def drip(connection):
        for byte in head:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    async with stock.RawServer(drip) as server:
        with pytest.raises(EngineTimeoutError) as slow:
            await read(engine_at(server.url), ask(words, timeouts=Timeouts(first_id=0.3)))
    assert slow.value.phase == "first_id"


async def test_bytes_that_drip_in_are_not_progress(words, ask, stock, engine_at):
    """A slow frame is silence: what counts is the time between ids."""
    body = frame([5]) + frame(list(range(10, 60)))

    def drip(connection):
        connection.sendall(frame([5]))
        for byte in body[len(frame([5])) :]:
            connection.sendall(bytes([byte]))
            time.sleep(0.03)

    got = []
    async with stock.RawServer(stock.head(200, FRAMES), drip) as server:
        with pytest.raises(EngineTimeoutError) as slow:
            await read(engine_at(server.url), ask(words, timeouts=Timeouts(idle=0.4)), got)
    assert slow.value.phase == "idle"
    assert slow.value.delivered == len(got) == 1


async def test_one_byte_at_a_time_is_the_same_answer(words, ask, stock, engine_at):
    ids = pick_tokenizer(words).encode_ordinary("It is 17 degrees in Porto ☂️.")
    body = frame(ids[:3]) + frame(ids[3:]) + frame([], done=True)
    pieces = [bytes([byte]) for byte in body]
    got = []
    async with stock.RawServer(stock.head(200, FRAMES), *pieces) as server:
        await read(engine_at(server.url), ask(words), got)
    assert got == ids


async def test_a_proxy_that_buffers_everything_delays_and_loses_nothing(words, ask, stock, engine_at):
    ids = pick_tokenizer(words).encode_ordinary("It is 17 degrees in Porto.")
    body = b"".join(frame([token]) for token in ids) + frame([], done=True)
    got = []
    async with stock.RawServer(lambda _: time.sleep(0.1), stock.head(200, FRAMES) + body) as server:
        await read(engine_at(server.url), ask(words, timeouts=Timeouts(idle=0.05)), got)
    assert got == ids


async def test_a_burst_of_refusals_passes(words, ask, engine_at):
    script = turns(Refuse(502), Refuse(503), "fine")
    async with EmbeddedServer(create_app(ScriptedBackend.of(words, script))) as server:
        engine = engine_at(server.url)
        for status in (502, 503):
            with pytest.raises(EngineStatusError) as refused:
                await read(engine, ask(words))
            assert refused.value.status == status
            assert refused.value.transient
        got = []
        await read(engine, ask(words), got)
        assert server.app.exchanges.open == 0
    assert got[-1] == words.special_tokens["<|im_end|>"]


async def test_an_endless_error_body_is_given_up(words, ask, stock, engine_at):
    def endless(connection):
        try:
            for _ in range(100_000):
                connection.sendall(b"x" * 4096)
        except OSError:
            return

    async with stock.RawServer(stock.head(500), endless) as server:
        with pytest.raises(EngineStatusError) as refused:
            await read(engine_at(server.url), ask(words))
    assert refused.value.status == 500
    assert len(refused.value.body) <= 500


async def test_an_answer_that_decompresses_without_end_is_refused(words, ask, stock):
    import gzip

    bomb = gzip.compress(frame([5]) + b"\x00" * 50_000_000, mtime=0)
    headers = [*FRAMES, ("content-encoding", "gzip"), ("content-length", str(len(bomb)))]
    async with stock.RawServer(stock.head(200, headers), bomb) as server:
        with pytest.raises(EngineStreamError) as refused:
            await read(CodecEngine(server.url, encodings=("gzip",)), ask(words))
    assert not refused.value.transient
