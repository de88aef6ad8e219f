"""The Codec client against the Codec server, over real loopback HTTP."""

import anyio
import httpx
import httpx2
import httpx_aiohttp
import msgspec
import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions, Timeouts
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.http.stream import MOST_MERGED
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
    MapMismatchError,
)
from codec_agents.server import EmbeddedServer, ScriptedBackend, ServerSettings, create_app
from codec_agents.server.recording import RecordingExchanges
from codec_agents.testing import Cut, Refuse, Say, Think, Wait, turns
from codec_core.tokenizer import pick_tokenizer
from tests.timing import happens, reuse_connections

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

TEXT = "It will be 17 degrees in Porto ☂️, so take 1 umbrella. " * 4


def serving(vocabulary, script, *, settings=None, **pace):
    backend = ScriptedBackend.of(vocabulary, script, **pace)
    return EmbeddedServer(create_app(backend, settings, exchanges=RecordingExchanges()))


async def read(engine, request):
    async with engine.stream(request) as stream:
        return [frame async for frame in stream], stream.stats


def ids_of(frames):
    return [token for frame in frames for token in frame.ids]


@pytest.mark.parametrize("wire_format", ["msgpack", "protobuf", "msgpack-delta", "protobuf-delta"])
@pytest.mark.parametrize("requests", ["json", "binary"])
async def test_every_format_and_both_request_forms(vocabulary, ask, wire_format, requests):
    async with serving(vocabulary, turns([Think("hm"), Say(TEXT)]), ids_a_frame=(1, 9)) as server:
        engine = CodecEngine(server.url, format=wire_format, requests=requests)
        frames, stats = await read(engine, ask(vocabulary, temperature=0.5))
        await engine.aclose()
        [exchange] = server.app.exchanges.generations
    assert ids_of(frames) == exchange.ids
    assert exchange.ids[-1] == vocabulary.special_tokens["<|im_end|>"]
    assert [t for t in exchange.ids if t not in vocabulary.special_ids][-10:] == pick_tokenizer(
        vocabulary
    ).encode_ordinary(TEXT)[-10:]
    assert frames[-1].done
    assert frames[-1].finish_reason == "stop"
    assert list(exchange.prompt_ids) == list(ask(vocabulary).prompt_ids)
    assert exchange.request.path == ("/v1/completions" if requests == "json" else "/v1/completions/codec")
    assert exchange.request.headers["codec-client-version"] == "0.5"
    assert exchange.request.headers["x-codec-map"] == vocabulary.hash
    assert stats.format == wire_format.partition("-")[0]
    assert stats.ids == len(exchange.ids)
    assert stats.bytes_sent == len(exchange.request.body)
    assert stats.bytes_received > 0
    assert stats.request_started <= stats.request_sent <= stats.first_id <= stats.last_id
    assert stats.server_port == server.port


async def test_json_requests_carry_every_option_and_no_text(words, ask):
    async with serving(words, turns("fine")) as server:
        engine = CodecEngine(server.url, settings=HttpSettings(api_key="k", headers={"X-Tenant": "t"}))
        request = ask(
            words,
            "a very private question",
            top_p=0.9,
            top_k=4,
            seed=7,
            stop=("never",),
            max_tokens=33,
            stop_token_ids=(5,),
            temperature=0.1,
            extra={"cache_salt": "mine"},
            headers={"traceparent": "00-1"},
        )
        await read(engine, request)
        await engine.aclose()
        [exchange] = server.app.exchanges.generations
    body = msgspec.json.decode(exchange.request.body)
    assert b"private" not in exchange.request.body
    assert body.pop("prompt") == request.prompt_ids
    assert body == {
        "stream": True,
        "stream_format": "msgpack",
        "max_tokens": 33,
        "temperature": 0.1,
        "top_p": 0.9,
        "top_k": 4,
        "seed": 7,
        "stop": ["never"],
        "stop_token_ids": [5],
        "cache_salt": "mine",
    }
    headers = exchange.request.headers
    assert (headers["authorization"], headers["x-tenant"], headers["traceparent"]) == (
        "Bearer k",
        "t",
        "00-1",
    )


async def test_long_prompts_go_out_binary_when_their_options_fit(words):
    prompt = pick_tokenizer(words).encode_ordinary("word " * 12_000)
    async with serving(words, turns("a", "b")) as server:
        engine = CodecEngine(server.url)
        for options in (SamplingOptions(temperature=0.0), SamplingOptions(temperature=0.0, top_p=0.5)):
            await read(engine, GenerationRequest(prompt_ids=prompt, vocabulary=words, options=options))
        await engine.aclose()
        paths = [exchange.request.path for exchange in server.app.exchanges.generations]
        assert paths == ["/v1/completions/codec", "/v1/completions"]


@pytest.mark.parametrize("requests", ["json", "binary"])
async def test_models_are_named_as_they_are_called(words, ask, requests):
    backend = ScriptedBackend.of(words, lambda _: "the first")
    backend.add("org/r&d model+1?", words, lambda _: "the second")
    async with EmbeddedServer(create_app(backend, exchanges=RecordingExchanges())) as server:
        engine = CodecEngine(server.url, requests=requests)
        frames, _ = await read(engine, ask(words, model="org/r&d model+1?", temperature=0.0))
        await engine.aclose()
    assert pick_tokenizer(words).encode_ordinary("the second") == ids_of(frames)[:-1]


async def test_a_binary_request_loses_no_option(words, ask):
    engine = CodecEngine("http://127.0.0.1:1", requests="binary")
    for options in ({"temperature": 0.5, "seed": 7}, {}):
        with pytest.raises(EngineError, match="requests: auto"):
            await read(engine, ask(words, **options))
    await engine.aclose()


async def test_a_server_without_binary_requests_gets_json_from_then_on(words, ask, stock):
    async with serving(words, turns("a", "b")) as server:
        server.app._generations.pop("/v1/completions/codec")
        engine = CodecEngine(server.url, requests="binary")
        for _ in range(2):
            await read(engine, ask(words, temperature=0.0))
        await engine.aclose()
        paths = [exchange.request.path for exchange in server.app.exchanges.generations]
    assert paths == ["/v1/completions/codec", "/v1/completions", "/v1/completions"]


@pytest.mark.parametrize(
    "encoding", ["zstd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gzip", "br"))]
)
async def test_compressed_frames_arrive_as_they_are_sent(words, ask, encoding):
    import hashlib

    dictionary = bytes(range(256)) * 8
    settings = ServerSettings(dictionaries={"msgpack": dictionary})
    held = {f"sha256:{hashlib.sha256(dictionary).hexdigest()}": dictionary}
    script = turns([Say(TEXT), Wait(1.0), Say("late")])
    async with serving(words, script, settings=settings, ids_a_frame=4) as server:
        engine = CodecEngine(server.url, encodings=(encoding,), dictionaries=held)
        async with engine.stream(ask(words)) as stream:
            got = []
            async for frame in stream:
                got += frame.ids
                if len(got) < 20:  # they are here while the answer goes on
                    assert not server.app.exchanges.generations[0].over.is_set()
        await engine.aclose()
        assert got == server.app.exchanges.generations[0].ids
    assert stream.stats.format == f"msgpack+{encoding}"


async def test_connections_are_used_again_after_a_finished_stream(words, ask):
    async with serving(words, lambda _: TEXT) as server:
        for transport in ("httpx", "auto"):
            engine = CodecEngine(server.url, settings=HttpSettings(transport=transport))
            reuse_connections(engine)
            before = server.accepted
            for _ in range(3):
                await read(engine, ask(words))
            assert server.accepted - before == 1
            await engine.aclose()


async def until_closed(server):
    """Wait until the server saw its client go, long before the answer's end."""
    exchange = server.app.exchanges.generations[-1]
    await happens(exchange.over)
    assert exchange.closed_by_client is not None


async def test_leaving_early_closes_the_connection_at_once(words, ask):
    """Before the engine is closed; `python -m tests.benchmarks engines` measures how soon."""
    async with serving(words, lambda _: [Say(TEXT), Wait(60)]) as server:
        engine = CodecEngine(server.url)
        async with engine.stream(ask(words)) as stream:
            async for _ in stream:
                break
        await until_closed(server)
        await engine.aclose()


async def test_cancelling_a_task_closes_the_connection_at_once(words, ask):
    async with serving(words, lambda _: [Say(TEXT), Wait(60)]) as server:
        engine = CodecEngine(server.url)
        with anyio.CancelScope() as scope:
            async with engine.stream(ask(words)) as stream:
                async for _ in stream:
                    scope.cancel()
        assert scope.cancelled_caught
        await until_closed(server)
        await engine.aclose()


async def test_another_map_is_refused_at_once(words, byte_level, ask):
    async with serving(words, turns("a", "b")) as server:
        engine = CodecEngine(server.url)
        with pytest.raises(MapMismatchError) as mismatch:
            await read(engine, ask(byte_level))
        assert (mismatch.value.expected, mismatch.value.found) == (byte_level.hash, words.hash)
        assert not mismatch.value.transient
        await engine.aclose()


async def test_a_server_that_only_names_its_map_is_refused_too(words, byte_level, ask, stock):
    headers = [("content-type", "application/x-msgpack"), ("codec-tokenizer-map", byte_level.hash)]
    async with stock.RawServer(stock.head(200, headers)) as server:
        engine = CodecEngine(server.url)
        with pytest.raises(MapMismatchError):
            await read(engine, ask(words))
        await engine.aclose()


async def test_errors_keep_the_status_and_the_reason(words, ask):
    async with serving(words, turns(Refuse(503, "warming up"), Refuse(400, "bad"))) as server:
        engine = CodecEngine(server.url, name="A")
        with pytest.raises(
            EngineStatusError, match=r"engine 'A': POST http://.*/v1/completions answered 503: warming up"
        ) as busy:
            await read(engine, ask(words))
        assert busy.value.transient
        with pytest.raises(EngineStatusError, match="answered 400: bad") as wrong:
            await read(engine, ask(words))
        assert not wrong.value.transient
        await engine.aclose()


async def test_a_client_that_is_too_old_is_told_so_and_does_not_retry(words, ask):
    async with serving(words, turns("a"), settings=ServerSettings(minimum_version="0.9")) as server:
        engine = CodecEngine(server.url)
        with pytest.raises(EngineStatusError) as refused:
            await read(engine, ask(words))
        await engine.aclose()
    assert refused.value.status == 426
    assert not refused.value.transient
    assert refused.value.__cause__.body.minimum_version == "0.9"


async def test_nobody_listens(words, ask):
    async with serving(words, turns("a")) as server:
        url = server.url
    engine = CodecEngine(url)
    with pytest.raises(EngineUnavailableError) as down:
        await read(engine, ask(words))
    assert down.value.transient
    await engine.aclose()


async def test_a_stream_that_breaks_off_keeps_what_came(words, ask):
    async with serving(words, turns([Say("one two"), Wait(0.05), Cut()])) as server:
        engine = CodecEngine(server.url)
        got = []

        async def gather():
            async with engine.stream(ask(words)) as stream:
                async for frame in stream:
                    got.extend(frame.ids)

        with pytest.raises(EngineStreamError) as cut:
            await gather()
        assert got == pick_tokenizer(words).encode_ordinary("one two")
        assert cut.value.delivered == len(got)
        assert cut.value.transient
        await engine.aclose()


@pytest.mark.parametrize(
    ("timeouts", "script", "phase"),
    [
        (Timeouts(first_id=0.2), [Wait(5), Say("late")], "first_id"),
        (Timeouts(idle=0.2), [Say("a"), Wait(5), Say("late")], "idle"),
        (Timeouts(whole=0.6), [Say("a"), Wait(5), Say("late")], "whole"),
    ],
)
async def test_time_is_kept(words, ask, timeouts, script, phase):
    async with serving(words, turns(script)) as server:
        engine = CodecEngine(server.url)
        with pytest.raises(EngineTimeoutError) as slow:
            await read(engine, ask(words, timeouts=timeouts))
        assert slow.value.phase == phase
        assert slow.value.delivered == (0 if phase == "first_id" else 1)
        await engine.aclose()


@pytest.mark.parametrize("ids", [[], [99_999], [-1]])
async def test_a_prompt_outside_the_map_is_never_sent(words, ids):
    async with serving(words, turns("a")) as server:
        engine = CodecEngine(server.url)
        with pytest.raises(EngineError, match=r"the prompt"):
            await read(engine, GenerationRequest(prompt_ids=ids, vocabulary=words))
        await engine.aclose()
        assert not server.app.exchanges.generations


@pytest.fixture(params=[httpx.AsyncClient, httpx2.AsyncClient, httpx_aiohttp.HttpxAiohttpClient])
def client_class(request, anyio_backend_name):
    """Give each of the clients that a caller may have."""
    if request.param is httpx_aiohttp.HttpxAiohttpClient and anyio_backend_name == "trio":
        pytest.skip("aiohttp runs under asyncio alone")
    return request.param


async def test_a_client_of_the_callers_own_is_used_and_left_open(words, ask, client_class):
    async with serving(words, lambda _: TEXT) as server, client_class(headers={"x-own": "1"}) as client:
        engine = CodecEngine(server.url, client=client)
        frames, _ = await read(engine, ask(words))
        assert frames[-1].done
        assert server.app.exchanges.generations[0].request.headers["x-own"] == "1"
        await engine.aclose()
        assert not client.is_closed


async def test_failures_of_any_client_are_the_same_errors(words, ask, client_class):
    async with (
        serving(words, lambda _: [Say("x"), Wait(0.05), Cut()]) as server,
        client_class() as client,
    ):
        with pytest.raises(EngineStreamError):
            await read(CodecEngine(server.url, client=client), ask(words))
        url = server.url
    async with client_class() as client:
        with pytest.raises(EngineUnavailableError):
            await read(CodecEngine(url, client=client), ask(words))


BAD_BODIES = {
    "garbage": b"\xc1\xff",
    "wrong type": b"\x82\xa3ids\xa3abc\xa4done\xc2",
    "id not in the map": msgspec.msgpack.encode({"ids": [2**31], "done": False}),
    "inside a frame": b"\x82\xa3ids\x93\x01",
    "without done": msgspec.msgpack.encode({"ids": [1], "done": False}),
    "trailing": msgspec.msgpack.encode({"ids": [1], "done": True}) + b"\x80",
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bodies_that_break_the_protocol(words, ask, stock, name):
    body = BAD_BODIES[name]
    head = stock.head(200, [("content-type", "application/x-msgpack"), ("content-length", str(len(body)))])
    async with stock.RawServer(head + body) as server:
        engine = CodecEngine(server.url)
        with pytest.raises(EngineStreamError) as broken:
            await read(engine, ask(words))
        await engine.aclose()
    assert broken.value.transient == (name in ("inside a frame", "without done"))


@pytest.mark.parametrize("ids", [0, 1, 4095, 4096, 4097, 30_000])
async def test_frames_that_arrive_together_are_one_but_not_a_boundless_one(words, ask, stock, ids):
    """What waits behind a slow reader is counted in frames."""
    sent = [5 + number % 200 for number in range(ids)]
    body = b"".join(
        msgspec.msgpack.encode({"ids": sent[at : at + 3], "done": False}) for at in range(0, ids, 3)
    )
    body += msgspec.msgpack.encode({"ids": [], "done": True, "finish_reason": "stop"})
    head = stock.head(200, [("content-type", "application/x-msgpack"), ("content-length", str(len(body)))])
    async with stock.RawServer(head + body) as server:
        engine = CodecEngine(server.url)
        frames, stats = await read(engine, ask(words, max_tokens=ids + 1))
        await engine.aclose()
    assert ids_of(frames) == sent
    assert stats.ids == ids
    assert max(len(frame.ids) for frame in frames) <= MOST_MERGED
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert frames[-1].finish_reason == "stop"


async def test_an_engine_that_ignores_stream_format_is_named_as_such(words, ask, stock):
    head = stock.head(200, [("content-type", "text/event-stream")])
    async with stock.RawServer(head, b"data: {}\n\n") as server:
        engine = CodecEngine(server.url)
        with pytest.raises(EngineStreamError, match="it does not speak Codec"):
            await read(engine, ask(words))
        await engine.aclose()
