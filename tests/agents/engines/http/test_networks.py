"""What networks and servers do to answers, with every engine: each ends in time, typed, what came is kept."""

import threading

import anyio
import anyio.lowlevel
import pytest

from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import Timeouts
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.exceptions import EngineStatusError, EngineStreamError, EngineTimeoutError
from codec_core.tokenizer import pick_tokenizer
from tests.agents.engines import wires
from tests.agents.engines.wires import SENT, WIRES, FaultyServer
from tests.timing import happens, reuse_connections

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

TEXT = "It is 17 degrees in Porto, and the train leaves at nine."


CASES = [*((kind, "auto") for kind in WIRES), ("codec", "httpx"), ("vllm completions", "httpx")]
"""Each engine with the transport that it takes, and one of each form with the other as well."""


@pytest.fixture(params=CASES, ids="-".join)
def case(request, anyio_backend_name):
    if (request.param[1], anyio_backend_name) == ("httpx", "trio"):
        pytest.skip("on trio there is no other")
    return request.param


@pytest.fixture
def wire(case):
    return WIRES[case[0]]


@pytest.fixture
def transport(case):
    return case[1]


@pytest.fixture
def answer(words):
    return pick_tokenizer(words).encode_ordinary(TEXT)


async def read(engine, request):
    """Return the ids that came, and the error that ended them."""
    got = []
    try:
        async with engine.stream(request) as stream:
            async for frame in stream:
                got.extend(frame.ids)
    except Exception as error:
        return got, error
    finally:
        await engine.aclose()
    return got, None


def made(wire, server, transport):
    return wire.make(server.url, settings=HttpSettings(transport=transport), **wire.options)


def kept(wire, got, answer, error):
    """Check that what had arrived is kept: of text, the ids that no later text can change."""
    assert got == answer[: len(got)]
    assert error.delivered == len(got)
    assert len(got) == SENT if wire.kind != "openai" else 0 < len(got) <= SENT


@pytest.mark.parametrize("fault", [wires.killed, wires.cut_inside, wires.reset], ids=lambda f: f.__name__)
async def test_an_answer_that_breaks_off(words, ask, answer, wire, transport, fault):
    async with FaultyServer(wire, words, answer, fault) as server:
        with anyio.fail_after(5):
            got, error = await read(made(wire, server, transport), ask(words))
    assert isinstance(error, EngineStreamError)
    assert error.transient
    kept(wire, got, answer, error)


SILENCES = {
    "half_open": "idle", "dripping_body": "idle",
    "silent": "first_id", "silent_after_head": "first_id", "dripping_head": "first_id",
}  # fmt: skip


@pytest.mark.parametrize("fault", SILENCES)
async def test_silence_has_an_end(words, ask, answer, wire, transport, fault):
    phase = SILENCES[fault]
    limit = 0.06
    timeouts = Timeouts(first_id=limit) if phase == "first_id" else Timeouts(idle=limit)
    async with FaultyServer(wire, words, answer, getattr(wires, fault)) as server:
        got, error = await read(made(wire, server, transport), ask(words, timeouts=timeouts))
    assert isinstance(error, EngineTimeoutError)
    assert (error.phase, error.transient) == (phase, True)
    if phase == "idle":
        kept(wire, got, answer, error)


async def test_the_whole_has_an_end_however_it_goes_on(words, ask, answer, wire, transport):
    # On a busy machine the shortest may be over before the first id has come.
    for whole in (0.15, 1, 10):
        timeouts = Timeouts(idle=None, first_id=None, whole=whole)
        async with FaultyServer(wire, words, answer, wires.dripping_body) as server:
            got, error = await read(made(wire, server, transport), ask(words, timeouts=timeouts))
        assert isinstance(error, EngineTimeoutError)
        assert (error.phase, error.transient) == ("whole", False)
        if got:
            break
    kept(wire, got, answer, error)


@pytest.mark.parametrize("way", [wires.byte_by_byte, wires.buffered], ids=lambda f: f.__name__)
async def test_however_it_arrives_it_is_the_same_answer(words, ask, answer, wire, transport, way):
    async with FaultyServer(wire, words, answer, way) as server:
        got, error = await read(made(wire, server, transport), ask(words, timeouts=Timeouts(idle=5)))
    assert error is None
    assert got == answer


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_refusals_keep_their_status(words, ask, answer, wire, transport, status):
    async with FaultyServer(wire, words, answer, wires.refusing(status, b"retry-after: 2")) as server:
        got, error = await read(made(wire, server, transport), ask(words))
    assert isinstance(error, EngineStatusError)
    assert (got, error.status, error.body, error.retry_after) == ([], status, "busy", 2.0)
    assert error.transient


async def test_leaving_is_noticed_by_the_server(words, ask, answer, wire, transport):
    """The server reads the end of the connection while it has more to say."""
    noticed = threading.Event()

    def endless(exchange):
        wires.half_open(exchange)
        noticed.set()

    async with FaultyServer(wire, words, answer, endless) as server:
        engine = made(wire, server, transport)
        async with engine.stream(ask(words)) as stream:
            async for _ in stream:
                break
        await happens(noticed)  # before the engine is closed
        await engine.aclose()


async def test_connections_are_used_again_after_a_finished_stream(words, ask, answer, wire, transport):
    """llama.cpp's is not: its server promises to keep connections behind a stream, and closes them."""
    async with FaultyServer(wire, words, answer, keeps=True) as server:
        engine = made(wire, server, transport)
        reuse_connections(engine)
        for _ in range(3):
            async with engine.stream(ask(words)) as stream:
                assert [token async for frame in stream for token in frame.ids] == answer
        await engine.aclose()
    assert server.accepted == (3 if wire.kind == "llamacpp" else 1)


async def test_an_engine_of_a_kind_that_is_found_out_has_one_pool(words, ask, answer):
    """What the first question has opened serves the requests behind it."""
    async with FaultyServer(WIRES["codec"], words, answer, keeps=True) as server:
        engine = AutoEngine(server.url)
        reuse_connections(engine.http)
        for _ in range(3):
            async with engine.stream(ask(words)) as stream:
                assert [token async for frame in stream for token in frame.ids] == answer
        await engine.aclose()
    assert engine.provider == "codec"
    assert server.accepted <= 2, "the question is left early, and its connection with it"


async def test_every_pool_has_its_limit(words, ask, answer, wire, transport):
    async with FaultyServer(wire, words, answer, keeps=True) as server:
        settings = HttpSettings(transport=transport, max_connections=2)
        engine = wire.make(server.url, settings=settings, **wire.options)
        reuse_connections(engine)

        async def one():
            async with engine.stream(ask(words)) as stream:
                assert [token async for frame in stream for token in frame.ids] == answer

        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(one)
        await engine.aclose()
    assert server.accepted == 6 if wire.kind == "llamacpp" else server.accepted <= 2
