"""Real stock engines, where one is reachable.

`CODEC_TEST_LLAMACPP` and `CODEC_TEST_VLLM` hold an origin and a map, separated by a space. The map is a file,
or one of the shared ones: `CODEC_TEST_LLAMACPP="http://127.0.0.1:8080 qwen/qwen2"`.
"""

import os
from pathlib import Path

import httpx
import pytest

from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.stock.rendering import engine_prompt
from codec_agents.engines.vllm import VllmEngine
from codec_agents.graph.chat import Chat
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

pytestmark = pytest.mark.anyio

LIVE = {"CODEC_TEST_LLAMACPP": LlamaCppEngine, "CODEC_TEST_VLLM": VllmEngine}


async def generate(engine, request):
    async with engine.stream(request) as stream:
        return [token async for frame in stream for token in frame.ids], stream.stats


@pytest.fixture
def live(shared_map):
    """Give a function that returns the origin and the vocabulary which a variable names."""

    def find(variable):
        if variable not in os.environ:
            pytest.skip(f"{variable} is not set: no real engine to test against")
        url, name = os.environ[variable].split()
        found = read_map(name) if Path(name).is_file() else shared_map(name)
        return url, vocabulary_of(found)

    return find


@pytest.mark.parametrize("variable", LIVE)
async def test_ids_of_a_real_engine(variable, live, ask):
    url, vocabulary = live(variable)
    engine = LIVE[variable](url)
    request = ask(
        vocabulary, "Count from one to ten, with an emoji after each.", max_tokens=60, temperature=0.0
    )
    ids, stats = await generate(engine, request)
    again, _ = await generate(engine, request)
    await engine.aclose()
    assert 0 < len(ids) <= 60
    assert ids == again
    assert stats.finish_reason in ("stop", "length")


async def test_a_stream_of_llama_cpp_has_the_ids_of_its_whole_answer(live, ask):
    """A model with random weights ends many events inside a character: ids that the stream loses."""
    url, vocabulary = live("CODEC_TEST_LLAMACPP")
    streamed, whole = LlamaCppEngine(url), LlamaCppEngine(url, lost_ids="no_stream")
    for number in range(10):
        request = ask(vocabulary, f"Count from {number} to ten.", max_tokens=48, temperature=0.0)
        assert (await generate(streamed, request))[0] == (await generate(whole, request))[0]
    await streamed.aclose()
    await whole.aclose()


async def test_llama_cpp_renders_a_prompt_that_the_map_can_write(live):
    """The server has a template of its own for a model without one."""
    url, vocabulary = live("CODEC_TEST_LLAMACPP")
    chat = Chat(system="Be brief.", user="Rewrite:\n{draft}")
    prompt = await engine_prompt(LlamaCppEngine(url), chat, vocabulary)
    assert prompt.slots == ("draft",)
    assert "Be brief." in "".join(piece.text or "" for piece in prompt.pieces)


async def test_llama_cpp_encodes_as_the_map_does(live):
    url, vocabulary = live("CODEC_TEST_LLAMACPP")
    encode = pick_tokenizer(vocabulary).encode_ordinary
    texts = [
        "it's 2024's 12345678",
        "  a\n\n\nx",
        "\t\tif x:\r\n        y",
        "🙂🙂 é 東京",
        "İstanbul \u00ad",
        "",
    ]
    async with httpx.AsyncClient(base_url=url) as client:
        for text in texts:
            body = {"content": text, "add_special": False, "parse_special": False}
            answer = await client.post("/tokenize", json=body)
            assert answer.json()["tokens"] == encode(text)
