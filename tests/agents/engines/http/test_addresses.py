"""URLs as users write them, and what is said when nothing answers there."""

from __future__ import annotations

import socket

import pytest

from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.addresses import read_address
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStatusError, EngineUnavailableError
from tests.agents.engines.wires import WIRES, FaultyServer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

ORIGIN = "http://127.0.0.1:8000"
FORMS = (
    "", "/", "/v1", "/v1/", "/v1/completions", "/v1/chat/completions", "/v1/chat/completions/",
    "/v1/completions/codec", "/completion", "/generate", "/inference/v1/generate", "/tokenize", "/v1/models",
    "/health",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("base", ["", "/proxy/a"])
def test_every_form_of_a_url_means_the_engine(base, form):
    assert read_address(ORIGIN + base + form).of("/v1/completions") == f"{ORIGIN}{base}/v1/completions"


def test_a_query_follows_every_path():
    address = read_address("https://host/base/v1?version=2")
    assert address.of("/v1/completions") == "https://host/base/v1/completions?version=2"
    assert address.of("/v1/completions/codec?model=m") == (
        "https://host/base/v1/completions/codec?model=m&version=2"
    )
    assert (address.host, address.port) == ("host", 443)


@pytest.mark.parametrize("name", ["generate", "completion", "v1"])
def test_a_host_may_be_called_like_a_call(name):
    assert read_address(f"http://{name}/{name}").of("/x") == f"http://{name}/x"
    assert read_address(f"http://{name}").of("/x") == f"http://{name}/x"


@pytest.mark.parametrize(
    "url",
    [
        *("host:8000", "ftp://host", "http://?", "http://[::1", ""),
        *("http://" + "a" * 64 + ".example", "http://a..b", "http://xn--0"),  # hosts that no name can have
    ],
)
def test_what_is_no_url_is_refused_without_being_repeated(url):
    with pytest.raises(ValueError, match="url of the engine") as refused:
        CodecEngine(url)
    assert not url or url not in str(refused.value)


@pytest.mark.parametrize("form", ["", "/", "/v1", "/v1/chat/completions"])
@pytest.mark.parametrize("name", WIRES)
async def test_every_engine_understands_them(words, ask, name, form):
    wire = WIRES[name]
    async with FaultyServer(wire, words, [21, 22]) as server:
        engine = wire.make(server.url + form, **wire.options)
        async with engine.stream(ask(words)) as stream:
            assert [token async for frame in stream for token in frame.ids]
        await engine.aclose()


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("kind", [CodecEngine, VllmEngine, OpenAIEngine, LlamaCppEngine])
async def test_where_nothing_listens_one_sentence_says_so(words, ask, anyio_backend_name, kind, transport):
    if anyio_backend_name == "trio" and transport == "aiohttp":
        pytest.skip("aiohttp runs under asyncio alone")
    url = free_url()
    engine = kind(url, settings=HttpSettings(transport=transport))
    with pytest.raises(EngineUnavailableError) as nobody:
        async with engine.stream(ask(words)):
            pytest.fail("nothing listens")
    await engine.aclose()
    said = str(nobody.value)
    assert said.startswith(f"engine '{engine.name}': nothing listens at {url}/")
    assert said.endswith("; start the server, or correct the engine's `url`")


async def test_an_unknown_call_names_the_url_that_was_asked(words, ask, stock):
    async with stock.StockServer({}) as server:
        url = server.url
        engine = OpenAIEngine(f"{url}/somewhere", name="A")
        with pytest.raises(EngineStatusError) as missing:
            async with engine.stream(ask(words)):
                pytest.fail("there is no such call")
        await engine.aclose()
    assert f"POST {url}/somewhere/v1/chat/completions answered 404" in str(missing.value)
    assert "correct the engine's `url`" in str(missing.value)
