"""Real stock engines, where one is reachable.

`CODEC_TEST_LLAMACPP` and `CODEC_TEST_VLLM` hold an origin and a map, separated by a space:
`CODEC_TEST_LLAMACPP="http://127.0.0.1:8080 qwen/qwen2"`.
"""

import os

import pytest

from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.vllm import VllmEngine
from codec_core.detokenizer import detokenize
from codec_core.vocabulary import vocabulary_of

pytestmark = pytest.mark.anyio

LIVE = {"CODEC_TEST_LLAMACPP": LlamaCppEngine, "CODEC_TEST_VLLM": VllmEngine}


async def generate(engine, request):
    async with engine.stream(request) as stream:
        return [token async for frame in stream for token in frame.ids], stream.stats


@pytest.mark.parametrize("variable", LIVE)
async def test_ids_of_a_real_engine(variable, ask, shared_map):
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set: no real engine to test against")
    url, map_id = os.environ[variable].split()
    vocabulary = vocabulary_of(shared_map(map_id))
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
    assert "\ufffd" not in detokenize(vocabulary, ids)[:-1]
