"""A real causal model with random weights behind the server."""

import asyncio

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `transformers`)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from codec_agents.engines.base import GenerationRequest, SamplingOptions  # noqa: E402
from codec_agents.engines.codec import CodecEngine  # noqa: E402
from codec_agents.server import BridgeBackend, EmbeddedServer, create_app  # noqa: E402
from codec_agents.server.transformers import TransformersBackend  # noqa: E402

pytestmark = [pytest.mark.asyncio, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def model():
    """A tiny Llama over the bundled vocabulary."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=2187,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        eos_token_id=2,
        bos_token_id=None,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


def expected(model, prompt, **settings):
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, **settings)
    return output[0, len(prompt) :].tolist()


async def read(url, words, prompt, **options):
    engine = CodecEngine(url)
    request = GenerationRequest(
        prompt_ids=prompt, vocabulary=words, options=SamplingOptions(max_tokens=24, **options)
    )
    try:
        async with engine.stream(request) as stream:
            return [token async for frame in stream for token in frame.ids]
    finally:
        await engine.aclose()


PROMPT = [1, 300, 301, 302, 400]


async def test_greedy_ids_are_those_of_generate(model, words):
    async with EmbeddedServer(create_app(TransformersBackend(model, words))) as server:
        assert await read(server.url, words, PROMPT, temperature=0.0) == expected(
            model, PROMPT, do_sample=False
        )


@pytest.mark.parametrize("options", [{"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.8, "top_k": 20}])
async def test_drawn_ids_are_those_of_generate_with_the_same_seed(model, words, options):
    torch.manual_seed(11)
    wanted = expected(model, PROMPT, do_sample=True, **options)
    async with EmbeddedServer(create_app(TransformersBackend(model, words))) as server:
        assert await read(server.url, words, PROMPT, seed=11, **options) == wanted


async def test_eight_streams_at_once_do_not_disturb_each_other(model, words):
    prompts = [[1, 300 + number, 400] for number in range(8)]
    wanted = [expected(model, prompt, do_sample=False) for prompt in prompts]
    async with EmbeddedServer(create_app(TransformersBackend(model, words))) as server:
        got = await asyncio.gather(*(read(server.url, words, prompt, temperature=0.0) for prompt in prompts))
    assert got == wanted


async def test_a_stop_id_ends_the_answer_and_is_part_of_it(model, words):
    whole = expected(model, PROMPT, do_sample=False)
    stop = whole[5]
    async with EmbeddedServer(create_app(TransformersBackend(model, words))) as server:
        got = await read(server.url, words, PROMPT, temperature=0.0, stop_token_ids=(stop,))
    assert got == whole[: whole.index(stop) + 1]


async def test_leaving_stops_the_generation(model, words):
    passes = 0

    def count(*_):
        nonlocal passes
        passes += 1

    handle = model.register_forward_hook(count)
    try:
        async with EmbeddedServer(create_app(TransformersBackend(model, words))) as server:
            engine = CodecEngine(server.url)
            request = GenerationRequest(
                prompt_ids=PROMPT, vocabulary=words, options=SamplingOptions(max_tokens=500, temperature=0.0)
            )
            async with engine.stream(request) as stream:
                async for _ in stream:
                    break
            [exchange] = server.app.exchanges.generations
            assert await asyncio.to_thread(exchange.over.wait, 5)
            await engine.aclose()
        assert passes < 500
    finally:
        handle.remove()


async def test_the_same_through_the_bridge(model, words):
    async with EmbeddedServer(create_app(TransformersBackend(model, words))) as upstream:
        backend = BridgeBackend(CodecEngine(upstream.url), words)
        async with EmbeddedServer(create_app(backend)) as server:
            got = await read(server.url, words, PROMPT, temperature=0.0)
        await backend.aclose()
    assert got == expected(model, PROMPT, do_sample=False)
