"""How engines are reached: keys, headers, proxies, certificates; the same whatever carries the bytes."""

import asyncio
import contextlib
import ssl
import sys
from contextlib import asynccontextmanager

import msgspec
import pytest
import trustme

from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http import httpx_client
from codec_agents.engines.http.aiohttp_client import AiohttpClient
from codec_agents.engines.http.clients import make_client
from codec_agents.engines.http.pool import HttpPool
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineError, EngineUnavailableError
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_core.tokenizer import pick_tokenizer
from tests.timing import reuse_connections

pytestmark = pytest.mark.anyio

TRANSPORTS = ("httpx", "aiohttp")


@pytest.fixture(params=TRANSPORTS)
def carrier(request):
    return request.param


async def read(engine, request):
    try:
        async with engine.stream(request) as stream:
            return [token async for frame in stream for token in frame.ids]
    finally:
        await engine.aclose()


def serving(words):
    return EmbeddedServer(create_app(ScriptedBackend.of(words, lambda _: "fine")))


# --- what every engine sends ---

ENGINES = {
    "codec": CodecEngine,
    "vllm": VllmEngine,
    "sglang": SglangEngine,
    "llamacpp": LlamaCppEngine,
    "openai": OpenAIEngine,
    "auto": AutoEngine,
}


@pytest.fixture
def everything(words, stock):
    """Give a server that has every call of every engine."""
    ids = [*range(20, 26), words.special_tokens["<|im_end|>"]]
    encode = pick_tokenizer(words).encode

    def tokenize(asked):
        return stock.tokenize_route(pick_tokenizer(words), "prompt" if "prompt" in asked else "content")(
            asked
        )

    def completions(asked):
        if isinstance(asked["prompt"], str):
            asked = {**asked, "prompt": encode(asked["prompt"])}
        return stock.vllm_completions(ids)(asked)

    chat = [{"choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": "stop"}]}]
    return stock.StockServer(
        {
            "/tokenize": tokenize,
            "/v1/completions": completions,
            "/inference/v1/generate": stock.vllm_generate(ids),
            "/generate": stock.sglang_generate(ids),
            "/completion": stock.llamacpp_completion(words, ids),
            "/v1/chat/completions": lambda _: (200, stock.SSE, [*map(stock.event, chat), stock.DONE]),
        }
    )


@pytest.mark.parametrize("kind", [kind for kind in ENGINES if kind != "codec"])
async def test_keys_headers_and_trace_context_reach_the_engine(words, ask, everything, carrier, kind):
    settings = HttpSettings(api_key="k", headers={"X-Tenant": "t"}, transport=carrier)
    async with everything as server:
        await read(ENGINES[kind](server.url, settings=settings), ask(words, headers={"traceparent": "00-1"}))
    assert all(headers["authorization"] == "Bearer k" for _, headers, _ in server.seen)
    assert all(headers["x-tenant"] == "t" for _, headers, _ in server.seen)
    path, headers, _ = server.seen[-1]
    assert headers["traceparent"] == "00-1"
    assert path not in ("/tokenize", "/props")


def test_a_header_is_sent_once_whatever_the_case_of_its_name():
    settings = HttpSettings(
        api_key="k", headers={"authorization": "own", "x-session-id": "a"}, keep_alive=False
    )
    pool = HttpPool("e", "http://user:word@host", settings)
    assert pool._headers({"X-Session-ID": "b", "Connection": "keep-alive"}) == {
        "authorization": "own", "X-Session-ID": "b", "Connection": "keep-alive",
    }  # fmt: skip


LIMITS = ("max_tokens", "n_predict", "max_new_tokens")


@pytest.mark.parametrize("kind", [kind for kind in ENGINES if kind != "codec"])
async def test_a_limit_is_always_sent(words, ask, everything, kind):
    async with everything as server:
        await read(ENGINES[kind](server.url), ask(words))
    body = server.seen[-1][2]
    found = {**body, **body.get("sampling_params", {})}
    assert [found[limit] for limit in LIMITS if limit in found] == [1024]


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("ids", [[], [99_999], [-1]])
async def test_a_prompt_outside_the_map_is_never_sent(words, ask, everything, kind, ids):
    bad = msgspec.structs.replace(ask(words), prompt_ids=ids)
    async with everything as server:
        with pytest.raises(EngineError, match="prompt"):
            await read(ENGINES[kind](server.url), bad)
    assert not any(path != "/tokenize" for path in server.paths())


# --- proxies ---


async def relay(source, target):
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


async def join(reader, writer, upstream_reader, upstream):
    """Pass bytes both ways until both are closed."""
    await asyncio.gather(relay(reader, upstream), relay(upstream_reader, writer))


@asynccontextmanager
async def listening(serve, **options):
    """Give the address at which connections are served, and wait for all of them in the end."""
    running = set()

    def accept(reader, writer):
        running.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, **options)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*running)


@asynccontextmanager
async def proxy():
    """A forward proxy; gives its address and the heads of what it saw."""
    heads = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head.decode())
        method, where, _ = heads[0].split(" ", 2)
        host, _, port = where.removeprefix("http://").partition("/")[0].partition(":")
        upstream_reader, upstream = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream.write(head.replace(f"http://{host}:{port}".encode(), b"", 1))
        await join(reader, writer, upstream_reader, upstream)

    async with listening(serve) as address:
        yield address, heads


async def test_requests_go_through_a_proxy_with_its_password(words, ask, carrier):
    async with serving(words) as server, proxy() as (address, heads):
        settings = HttpSettings(proxy=f"http://user:secret@{address}", transport=carrier)
        ids = await read(CodecEngine(server.url, settings=settings), ask(words))
    assert ids
    assert heads[0].startswith(f"POST {server.url}/v1/completions HTTP/1.1")
    assert "proxy-authorization: Basic dXNlcjpzZWNyZXQ=" in heads[0].replace("P", "p").replace("A", "a")


async def test_proxies_of_the_environment_are_not_used(words, ask, carrier, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(words) as server:
        assert await read(CodecEngine(server.url, settings=HttpSettings(transport=carrier)), ask(words))


async def test_a_socks_proxy_is_left_to_httpx(monkeypatch):
    made = []
    monkeypatch.setattr(httpx_client, "CheckingTransport", lambda **given: made.append(given))
    make_client(HttpSettings(proxy="socks5://127.0.0.1:9"), tls=False)
    assert made[0]["proxy"] == "socks5://127.0.0.1:9"


# --- certificates ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Give the files of a certificate for 127.0.0.1 that nobody has signed, and of its key."""
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own.private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    return folder


@asynccontextmanager
async def behind_tls(certificate, port):
    """Serve what listens on a port over TLS; give the origin."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "own.pem")

    async def serve(reader, writer):
        await join(reader, writer, *await asyncio.open_connection("127.0.0.1", port))

    async with listening(serve, ssl=context) as address:
        yield f"https://{address}"


async def test_certificates_are_verified_as_the_settings_say(words, ask, certificate, carrier):
    async with serving(words) as server, behind_tls(certificate, server.port) as url:
        for verify, trusted in ((True, False), (str(certificate / "ca.pem"), True), (False, True)):
            engine = CodecEngine(url, settings=HttpSettings(verify=verify, transport=carrier))
            if trusted:
                assert await read(engine, ask(words))
            else:
                with pytest.raises(EngineUnavailableError, match=r"(?i)certificate"):
                    await read(engine, ask(words))


# --- which client ---


async def test_aiohttp_is_the_default_where_it_is_installed(monkeypatch):
    client = make_client(HttpSettings(), tls=False)
    assert isinstance(client, AiohttpClient)
    await client.aclose()
    monkeypatch.setattr("codec_agents.engines.http.clients.find_spec", lambda _: None)
    client = make_client(HttpSettings(), tls=False)
    assert type(client).__module__.startswith("httpx")
    await client.aclose()
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "codec_agents.engines.http.aiohttp_client")
    with pytest.raises(ImportError):
        make_client(HttpSettings(transport="aiohttp"), tls=False)


async def test_a_pool_has_its_limit(words, ask, carrier):
    async with EmbeddedServer(
        create_app(ScriptedBackend.of(words, lambda _: "one two three", ids_a_second=100))
    ) as server:
        engine = CodecEngine(server.url, settings=HttpSettings(max_connections=2, transport=carrier))
        reuse_connections(engine)

        async def one():
            async with engine.stream(ask(words)) as stream:
                return [frame async for frame in stream]

        await asyncio.gather(*(one() for _ in range(6)))
        await engine.aclose()
        assert server.accepted <= 2
