"""What clients of stock engines promise, held on imitations and on the real servers by the same tests.

Against the real servers: `make test-engines` (vLLM, llama.cpp) and `make test-sglang`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import httpx
import msgspec
import pytest

from codec_agents.engines.auto import AutoEngine
from codec_agents.engines.base import WHOLE, GenerationRequest, SamplingOptions, least_ids
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineError, MapMismatchError
from codec_agents.vocabularies import bundled_map
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.agents.engines.imitations import MODEL, imitation
from tests.real_engines.places import UnavailableError
from tests.real_engines.record import PATHS, body, smollm2
from tests.real_engines.running import url_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Kind:
    """One API of one engine."""

    make: Callable[..., Any]
    ids_of: Callable[[Any], list[int]]
    """The ids of an answer that is not streamed."""
    knows_models: bool = False
    counts_cached: bool = True
    form: str = "regex"
    """Of structured answers, beside JSON schemas."""
    stop_ids: bool = True


KINDS = {
    "vllm completions": Kind(
        lambda url, **more: VllmEngine(url, api="completions", **more),
        lambda answer: answer["choices"][0]["token_ids"],
        knows_models=True,
    ),
    "vllm generate": Kind(
        lambda url, **more: VllmEngine(url, api="generate", **more),
        lambda answer: answer["choices"][0]["token_ids"],
        knows_models=True,
    ),
    "sglang completions": Kind(
        lambda url, **more: SglangEngine(url, api="completions", **more),
        lambda answer: answer["choices"][0]["token_ids"],
        counts_cached=False,
    ),
    "sglang generate": Kind(
        lambda url, **more: SglangEngine(url, api="generate", **more), lambda answer: answer["output_ids"]
    ),
    "llamacpp": Kind(LlamaCppEngine, lambda answer: answer["tokens"], form="grammar", stop_ids=False),
}


@dataclass(frozen=True)
class Served:
    """A server to ask."""

    kind: str
    url: str
    vocabulary: Vocabulary
    real: bool

    @property
    def api(self) -> Kind:
        """The API that is tested."""
        return KINDS[self.kind]

    def engine(self, **options: Any) -> Any:
        """Return a client."""
        return self.api.make(self.url, **options)

    def ask(
        self, text: str = "Count from one to ten.", begun: str = "One,", **options: Any
    ) -> GenerationRequest:
        """Return a request whose answer is begun, so that a small model goes on well."""
        turn = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{begun}"
        options = {"max_tokens": 8, "temperature": 0.0, **options}
        return GenerationRequest(
            prompt_ids=pick_tokenizer(self.vocabulary).encode(turn),
            vocabulary=self.vocabulary,
            model=options.pop("model", MODEL),
            options=SamplingOptions(**options),
        )

    async def whole(self, request: GenerationRequest) -> list[int]:
        """Return the ids of the answer that is not streamed, asked for without a client of ours."""
        asked = body(self.kind, list(request.prompt_ids), request.options.max_tokens, stream=False)
        async with httpx.AsyncClient(base_url=self.url, timeout=120) as client:
            answer = await client.post(PATHS[self.kind], json=asked)
        assert answer.status_code == 200, answer.text
        return self.api.ids_of(answer.json())


MARKS = {"sglang": pytest.mark.sglang}
PLACES = [
    *(pytest.param((kind, False), id=f"{kind}, imitated") for kind in KINDS),
    *(
        pytest.param((kind, True), id=kind, marks=MARKS.get(kind.split()[0], pytest.mark.engines))
        for kind in KINDS
    ),
]


@pytest.fixture(scope="module", params=PLACES)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """Give a server of each kind, imitated and real."""
    kind, real = request.param
    engine = kind.split()[0]
    if real:
        try:
            yield Served(kind, url_of(engine), smollm2(), real)
        except UnavailableError as error:
            pytest.skip(str(error))
    else:
        words = vocabulary_of(bundled_map("demo/words"))
        with imitation(engine, words) as url:
            yield Served(kind, url, words, real)


async def read(engine: Any, request: GenerationRequest) -> tuple[list[int], Any]:
    """Return the ids of an answer, and the measurements."""
    try:
        async with engine.stream(request) as stream:
            return [token async for frame in stream for token in frame.ids], stream.stats
    finally:
        await engine.aclose()


QUESTIONS = [
    "Count from one to ten.", "Name three colours.", "Wie heißt du? 日本語で", "Write a list of five fruits.",
    "def f(x):", "What is\n\n\tthis?", "Say 'hello' 🙂.", "1 2 3 4 5", "Tell me about Oslo.",
    "Why is the sky blue?",
]  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param([(QUESTIONS[0], ""), (QUESTIONS[2], "Well,"), (QUESTIONS[6], "")], id="a few"),
        pytest.param(list(product(QUESTIONS, ("", "Well,"))), id="20", marks=pytest.mark.engines_all),
    ],
)
async def test_a_greedy_stream_has_the_ids_of_the_answer_that_is_not_streamed(
    served: Served, asked: list[tuple[str, str]]
) -> None:
    """One after the other: in a batch with others the last digits differ, and they decide between two ids."""
    for question, begun in asked if served.real else asked[:1]:
        request = served.ask(question, begun)
        ids, stats = await read(served.engine(), request)
        assert ids == await served.whole(request)
        assert stats.ids == len(ids) > 0


async def test_the_limit_ends_an_answer_and_everything_is_counted(served: Served) -> None:
    request = served.ask(max_tokens=5)
    ids, stats = await read(served.engine(), request)
    assert (len(ids), stats.finish_reason) == (5, "length")
    assert stats.prompt_tokens == len(request.prompt_ids)


async def test_the_end_of_the_turn_is_among_the_ids(served: Served) -> None:
    request = served.ask(begun="One, two, three, four, five, six, seven, eight, nine, ten.", max_tokens=40)
    ids, stats = await read(served.engine(), request)
    assert stats.finish_reason == "stop"
    assert ids[-1] == served.vocabulary.special_tokens["<|im_end|>"]
    assert stats.prompt_tokens == len(request.prompt_ids)


async def test_a_stop_id_ends_an_answer_and_the_counts_arrive(served: Served) -> None:
    """llama.cpp knows no stop ids: this side ends the request, and the counts are lost with its rest."""
    whole = await served.whole(served.ask())
    stop = next(token for token in whole[2:] if whole.index(token) >= 2)
    request = served.ask(stop_token_ids=(stop,))
    ids, stats = await read(served.engine(), request)
    assert (ids, stats.finish_reason) == (whole[: whole.index(stop) + 1], "stop")
    if served.api.stop_ids:
        assert stats.prompt_tokens == len(request.prompt_ids)


async def test_the_end_of_the_turn_as_a_stop_id_loses_no_counts(served: Served) -> None:
    """As a pipeline asks: the dialect's own end of a turn is a stop id, and the engine ends there as well."""
    end = served.vocabulary.special_tokens["<|im_end|>"]
    begun = "One, two, three, four, five, six, seven, eight, nine, ten."
    request = served.ask(begun=begun, max_tokens=40, stop_token_ids=(end,))
    ids, stats = await read(served.engine(), request)
    assert (ids[-1], stats.finish_reason) == (end, "stop")
    assert stats.prompt_tokens == len(request.prompt_ids)
    assert (stats.cached_tokens is not None) == served.api.counts_cached


async def test_a_stop_text_ends_an_answer(served: Served) -> None:
    ids, stats = await read(served.engine(), served.ask(stop=("four",), max_tokens=40))
    assert stats.finish_reason == "stop_sequence"
    assert "three" in detokenize(served.vocabulary, ids)
    assert "five" not in detokenize(served.vocabulary, ids)


async def test_ids_found_in_the_cache_are_reported_and_not_reported_is_not_none_found(served: Served) -> None:
    text = f"{served.kind}: count from one to ten, and take your time over it, please. " * 8
    first, second = [(await read(served.engine(), served.ask(text, max_tokens=1)))[1] for _ in range(2)]
    if not served.api.counts_cached:
        assert (first.cached_tokens, second.cached_tokens) == (None, None)
    else:
        assert first.cached_tokens is not None
        assert second.cached_tokens > len(served.ask(text).prompt_ids) // 2


async def test_a_model_that_is_not_served(served: Served) -> None:
    """vLLM refuses it, and that is no sign of a server without a tokenizer. The others do not look at it."""
    engine = served.engine()
    try:
        if served.api.knows_models:
            with pytest.raises(EngineError, match="other"):
                await engine.check(served.ask(model="other"))
            strange = vocabulary_of(bundled_map("demo/bytes"))
            with pytest.raises(MapMismatchError):
                await engine.check(GenerationRequest(prompt_ids=[1], vocabulary=strange, model=MODEL))
        else:
            assert (await read(engine, served.ask(model="other", max_tokens=1)))[0]
    finally:
        await engine.aclose()


@pytest.mark.parametrize("mode", ["probe", "full"])
async def test_the_tokenizer_is_the_map_s(served: Served, mode: str) -> None:
    engine = served.engine(handshake=mode)
    await engine.check(served.ask())
    await engine.aclose()


async def test_a_prompt_that_is_too_long_is_refused_and_not_tried_again(served: Served) -> None:
    request = served.ask("Count. " * 3000)
    with pytest.raises(EngineError, match=r"(?i)context|maximum|longer") as refused:
        await read(served.engine(), request)
    assert not refused.value.transient


async def test_a_request_that_only_fills_the_cache(served: Served) -> None:
    """It has none of the options that a request for one id cannot have."""
    options = SamplingOptions(max_tokens=40, temperature=0.0, logprobs=1, stop=("four",))
    if served.kind != "llamacpp":
        options = SamplingOptions(max_tokens=40, temperature=0.0, min_tokens=20)
    asked = served.ask()
    engine = served.engine()
    ahead = GenerationRequest(
        prompt_ids=asked.prompt_ids,
        vocabulary=asked.vocabulary,
        model=MODEL,
        options=options.of_prefill(least_ids(engine)),
    )
    assert len((await read(engine, ahead))[0]) <= 1


async def test_an_answer_that_is_not_streamed_has_the_same_ids_end_and_counts(served: Served) -> None:
    """Also where a stop id or a stop text ends it, and with values."""
    stop = (await served.whole(served.ask()))[5]
    asked = [{}, {"stop": ("four",), "max_tokens": 40}, {"max_tokens": 3}]
    if served.api.stop_ids:
        asked.append({"stop_token_ids": (stop,)})
    for options in asked:
        request = served.ask(**options)
        streamed, once = [
            await read(served.engine(), msgspec.structs.replace(request, stream_interval=interval))
            for interval in (1, WHOLE)
        ]
        assert once[0] == streamed[0]
        assert once[1].finish_reason == streamed[1].finish_reason
        assert once[1].prompt_tokens == streamed[1].prompt_tokens == len(request.prompt_ids)
        assert (
            once[1].bytes_received < streamed[1].bytes_received or len(once[0]) < 4 or "llama" in served.kind
        )


async def test_the_only_ids_that_may_be_drawn(served: Served) -> None:
    """Whatever the model would have said."""
    only = pick_tokenizer(served.vocabulary).encode_ordinary("}#")[:2]
    structured = {"ids": only}
    for temperature in (0.0, 2.0):
        request = served.ask(structured=structured, max_tokens=1, temperature=temperature)
        ids, stats = await read(served.engine(), request)
        assert len(ids) == 1
        assert ids[0] in only
        assert stats.finish_reason == "length"


async def test_a_form_of_the_answer(served: Served) -> None:
    choice = {"regex": "(yes|no)"} if served.api.form == "regex" else {"grammar": 'root ::= "yes" | "no"'}
    ids, _ = await read(served.engine(), served.ask("Is it?", "", structured=choice, max_tokens=20))
    text = detokenize(served.vocabulary, [i for i in ids if i not in served.vocabulary.special_ids])
    assert text in ("yes", "no")
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
    structured = {"json_schema": {**schema, "additionalProperties": False}}
    ids, _ = await read(served.engine(), served.ask("A city?", "", structured=structured, max_tokens=60))
    text = detokenize(served.vocabulary, [i for i in ids if i not in served.vocabulary.special_ids])
    assert json.loads(text)["city"] in ("Oslo", "Rome")


async def test_what_is_salted_is_found_with_the_same_salt_alone(served: Served) -> None:
    if served.kind == "llamacpp" or not served.api.counts_cached:
        pytest.skip("has no salts, or does not report what it found")
    text = f"{served.kind} salted: count from one to ten, and take your time over it, please. " * 8
    found = []
    for salt in ("a", "b", "a"):
        stats = (await read(served.engine(), served.ask(text, cache_salt=salt, max_tokens=1)))[1]
        found.append(stats.cached_tokens)
    assert found[2] > len(text.split()) > found[1]


async def test_an_engine_that_is_not_named_is_found(served: Served) -> None:
    if not served.real and served.kind != "vllm completions":
        pytest.skip("the imitation does not say who it is")
    request = served.ask(max_tokens=3)
    engine = AutoEngine(served.url)
    ids, _ = await read(engine, request)
    assert engine.provider == served.kind.split()[0].replace("llamacpp", "llama_cpp")
    assert ids == await served.whole(request)
