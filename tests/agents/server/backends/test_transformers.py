"""A real causal model with random weights behind the server."""

import asyncio

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `transformers`)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from codec_agents.engines.base import GenerationRequest, SamplingOptions  # noqa: E402
from codec_agents.engines.codec import CodecEngine  # noqa: E402
from codec_agents.pipeline import Pipeline  # noqa: E402
from codec_agents.server import BridgeBackend, EmbeddedServer, create_app  # noqa: E402
from codec_agents.server.backends.backend import Job  # noqa: E402
from codec_agents.server.backends.transformers import TransformersBackend  # noqa: E402
from codec_agents.server.recording import RecordingExchanges  # noqa: E402
from codec_agents.vocabularies import bundled_map  # noqa: E402
from codec_core.frames.values import joined_values  # noqa: E402
from codec_core.translator import Translator  # noqa: E402
from codec_core.vocabulary import vocabulary_of  # noqa: E402

pytestmark = [pytest.mark.models, pytest.mark.asyncio, pytest.mark.filterwarnings("default")]


def tiny_model(size, seed):
    """A tiny Llama over a bundled vocabulary, with random weights."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=size,
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


@pytest.fixture(scope="module")
def model():
    return tiny_model(2187, 0)


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


def serving(backend):
    return EmbeddedServer(create_app(backend, exchanges=RecordingExchanges()))


async def test_greedy_ids_are_those_of_generate(model, words):
    async with EmbeddedServer(
        create_app(TransformersBackend(model, words), exchanges=RecordingExchanges())
    ) as server:
        assert await read(server.url, words, PROMPT, temperature=0.0) == expected(
            model, PROMPT, do_sample=False
        )


async def test_a_prompt_that_begins_as_an_earlier_one_is_read_from_where_they_part(model, words):
    backend = TransformersBackend(model, words)
    first = expected(model, PROMPT, do_sample=False)
    cached = []
    for prompt in (PROMPT, [*PROMPT, *first[:9], 500, 501], [*PROMPT, *first, 7], PROMPT):
        job = Job(backend.models[0], prompt, SamplingOptions(max_tokens=24, temperature=0.0))
        ids = []
        async with backend.generate(job) as frames:
            while not (frame := await anext(frames)).done:
                ids += frame.ids
        assert ids == expected(model, prompt, do_sample=False)
        cached.append(job.cached_ids)
    assert cached == [0, len(PROMPT) + 9, 0, 0]


async def generated(backend, job):
    ids = []
    async with backend.generate(job) as frames:
        while not (frame := await anext(frames)).done:
            ids += frame.ids
    return ids


async def test_the_cache_of_a_pass_that_failed_is_not_kept(words):
    failing = tiny_model(2187, 0)
    backend, last, passes = TransformersBackend(failing, words), failing.model.layers[-1], [0]

    def fail(*_):
        passes[0] += 1
        if passes[0] == 5:
            raise RuntimeError("the last layer fails, and the first one has extended its part")

    hook = last.register_forward_pre_hook(fail)
    job = Job(backend.models[0], PROMPT, SamplingOptions(max_tokens=24, temperature=0.0))
    with pytest.raises(ExceptionGroup) as failed:
        await generated(backend, job)
    assert failed.group_contains(RuntimeError, match="the last layer")
    hook.remove()
    again = Job(backend.models[0], PROMPT, SamplingOptions(max_tokens=24, temperature=0.0))
    ids = await generated(backend, again)
    assert (ids, again.cached_ids) == (expected(failing, PROMPT, do_sample=False), 0)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 0.7, "top_k": 20, "seed": 11}])
async def test_values_are_those_of_the_raw_scores(model, words, options):
    """Of one pass over the whole answer, whatever temperature and filters the ids were drawn with."""
    backend = TransformersBackend(model, words)
    job = Job(backend.models[0], PROMPT, SamplingOptions(max_tokens=24, logprobs=3, **options))
    ids, said = [], []
    async with backend.generate(job) as frames:
        while not (frame := await anext(frames)).done:
            ids += frame.ids
            said.append(frame.values)
    with torch.inference_mode():
        scores = model(torch.tensor([[*PROMPT, *ids]])).logits[0, len(PROMPT) - 1 : -1].float()
    raw = scores.log_softmax(dim=-1)
    values = joined_values(said)
    assert list(values.logprobs) == pytest.approx(raw[range(len(ids)), ids].tolist(), abs=1e-4)
    best = raw.topk(3)
    for row, tokens, logprobs in zip(values.top, best.indices.tolist(), best.values.tolist(), strict=True):
        assert [token for token, _ in row] == tokens
        assert [logprob for _, logprob in row] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("options", [{"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.8, "top_k": 20}])
async def test_drawn_ids_are_those_of_generate_with_the_same_seed(model, words, options):
    torch.manual_seed(11)
    wanted = expected(model, PROMPT, do_sample=True, **options)
    async with EmbeddedServer(
        create_app(TransformersBackend(model, words), exchanges=RecordingExchanges())
    ) as server:
        assert await read(server.url, words, PROMPT, seed=11, **options) == wanted


async def test_eight_streams_at_once_do_not_disturb_each_other(model, words):
    prompts = [[1, 300 + number, 400] for number in range(8)]
    wanted = [expected(model, prompt, do_sample=False) for prompt in prompts]
    async with EmbeddedServer(
        create_app(TransformersBackend(model, words), exchanges=RecordingExchanges())
    ) as server:
        got = await asyncio.gather(*(read(server.url, words, prompt, temperature=0.0) for prompt in prompts))
    assert got == wanted


async def test_a_stop_id_ends_the_answer_and_is_part_of_it(model, words):
    whole = expected(model, PROMPT, do_sample=False)
    stop = whole[5]
    async with EmbeddedServer(
        create_app(TransformersBackend(model, words), exchanges=RecordingExchanges())
    ) as server:
        got = await read(server.url, words, PROMPT, temperature=0.0, stop_token_ids=(stop,))
    assert got == whole[: whole.index(stop) + 1]


async def test_leaving_stops_the_generation(model, words):
    passes = 0

    def count(*_):
        nonlocal passes
        passes += 1

    handle = model.register_forward_hook(count)
    try:
        async with EmbeddedServer(
            create_app(TransformersBackend(model, words), exchanges=RecordingExchanges())
        ) as server:
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
    async with EmbeddedServer(
        create_app(TransformersBackend(model, words), exchanges=RecordingExchanges())
    ) as upstream:
        backend = BridgeBackend(CodecEngine(upstream.url), words)
        async with EmbeddedServer(create_app(backend)) as server:
            got = await read(server.url, words, PROMPT, temperature=0.0)
    assert got == expected(model, PROMPT, do_sample=False)


async def test_two_models_in_a_pipeline_with_translation(model, words):
    plain = vocabulary_of(bundled_map("demo/bytes"))
    first_model = tiny_model(plain.size, 1)
    first = EmbeddedServer(
        create_app(TransformersBackend(first_model, plain), exchanges=RecordingExchanges())
    )
    second = serving(TransformersBackend(model, words))
    async with first, second:
        pipeline = Pipeline("pair")
        pipeline.engine("first", kind="codec", url=first.url)
        pipeline.engine("second", kind="codec", url=second.url)
        pipeline.input("question")
        sampling = {"temperature": 0.0, "max_tokens": 24}
        for name, source, slot in (("first", "demo/bytes", "question"), ("second", "demo/words", "draft")):
            pipeline.model(name, engine=name, map=source, prompt=f"{{{slot}}}", sampling=sampling)
        pipeline.sink("draft", text=False)
        pipeline.sink("answer", text=False)
        for edge in (
            ("question", "first.question"),
            ("first.answer", "second.draft"),
            ("first.answer", "draft"),
            ("second.answer", "answer"),
        ):
            pipeline.connect(*edge)
        async with pipeline.opened():
            result = await pipeline.invoke({"question": "Where to?"})
        [asked_first] = first.app.exchanges.generations
        [asked_second] = second.app.exchanges.generations
    generated = expected(first_model, list(asked_first.prompt_ids), do_sample=False)
    assert asked_first.ids == generated
    assert result.ids["draft"] == [token for token in generated if token not in plain.special_ids]
    translator = Translator(plain, words)
    translated = translator.translate(result.ids["draft"])
    assert contains(list(asked_second.prompt_ids), translated)
    assert asked_second.ids == expected(model, list(asked_second.prompt_ids), do_sample=False)


def contains(whole, part):
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


async def test_a_model_is_loaded_from_its_folder(model, words, tmp_path):
    model.save_pretrained(tmp_path)
    async with EmbeddedServer(create_app(TransformersBackend(str(tmp_path), words, "m"))) as server:
        assert await read(server.url, words, PROMPT, temperature=0.0) == expected(
            model, PROMPT, do_sample=False
        )
