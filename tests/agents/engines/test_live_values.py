"""Values of ids from real servers: a stream's are those of the server's own answer in one piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_core.frames.values import joined_values
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.live_engines import each, live_engine

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

TEXT = "The capital of France is"
LENGTH, TOP = 8, 2
Said = tuple[list[int], list[float]]


def vllm(url: str, ids: list[int], model: str | None) -> Said:
    asked = {"prompt": ids, "model": model, "max_tokens": LENGTH, "temperature": 0, "logprobs": TOP}
    choice = httpx.post(f"{url}/v1/completions", json={**asked, "return_token_ids": True}, timeout=300).json()
    [choice] = choice["choices"]
    return choice["token_ids"], choice["logprobs"]["token_logprobs"]


def llamacpp(url: str, ids: list[int], _: str | None) -> Said:
    asked = {"prompt": ids, "n_predict": LENGTH, "temperature": 0, "n_probs": TOP, "return_tokens": True}
    answer = httpx.post(f"{url}/completion", json=asked, timeout=300).json()
    return answer["tokens"], [each["logprob"] for each in answer["completion_probabilities"]]


def sglang(url: str, ids: list[int], _: str | None) -> Said:
    params = {"max_new_tokens": LENGTH, "temperature": 0}
    asked = {"input_ids": ids, "sampling_params": params, "return_logprob": True, "top_logprobs_num": TOP}
    answer = httpx.post(f"{url}/generate", json=asked, timeout=300).json()
    meta = answer["meta_info"]["output_token_logprobs"]
    return answer["output_ids"], [logprob for logprob, _, _ in meta]


SERVERS: dict[str, tuple[Callable[..., Any], Callable[..., Said]]] = {
    "vllm": (VllmEngine, vllm),
    "llamacpp": (LlamaCppEngine, llamacpp),
    "sglang": (SglangEngine, sglang),
}


@pytest.mark.parametrize("name", each(*SERVERS))
async def test_streamed_values_are_those_of_the_whole_answer(name: str) -> None:
    url, tokenizer_map, model = live_engine(name)
    make, whole = SERVERS[name]
    vocabulary = vocabulary_of(tokenizer_map)
    prompt = pick_tokenizer(vocabulary).encode_ordinary(TEXT)
    request = GenerationRequest(
        prompt_ids=prompt,
        vocabulary=vocabulary,
        model=model,
        options=SamplingOptions(max_tokens=LENGTH, temperature=0.0, logprobs=TOP),
    )
    engine = make(url)
    try:
        async with engine.stream(request) as stream:
            frames = [frame async for frame in stream]
    finally:
        await engine.aclose()
    values = joined_values([frame.values for frame in frames if frame.values is not None])
    assert values is not None
    ids, logprobs = whole(url, prompt, model)
    assert [token for frame in frames for token in frame.ids] == ids
    # Batches of other sizes round otherwise, in the server itself.
    assert values.logprobs == pytest.approx(logprobs, abs=0.05)
    assert all(len(row) == TOP for row in values.top)
    assert [row[0] for row in values.top] == list(zip(ids, values.logprobs, strict=True))
