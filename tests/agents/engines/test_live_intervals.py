"""Ids per event from a real vLLM: the same ids at every interval, in fewer bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.vllm import VllmEngine
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.live_engines import live_engine

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(600)]

ENGINE = "vllm"
WHOLE_RUN = pytest.mark.engines_all


async def ids_of(engine: VllmEngine, request: GenerationRequest) -> tuple[list[int], Any]:
    ids: list[int] = []
    async with engine.stream(request) as frames:
        async for frame in frames:
            ids += frame.ids
        return ids, frames.stats


@pytest.mark.parametrize("api", ["auto", pytest.param("completions", marks=WHOLE_RUN)])
@pytest.mark.parametrize("stops", ["limit", "stop id", "stop text"])
@pytest.mark.parametrize(
    ("length", "intervals"), [(18, (1, 16)), pytest.param(90, (1, 4, 16, 64), marks=WHOLE_RUN)]
)
async def test_ids_are_the_same_at_every_interval(
    api: Any, stops: str, length: int, intervals: tuple[int, ...]
) -> None:
    """The length is no multiple of an interval: the last event holds the rest."""
    url, tokenizer_map, model = live_engine("vllm")
    vocabulary = vocabulary_of(tokenizer_map)
    engine = VllmEngine(url, api=api)
    options = SamplingOptions(max_tokens=length, temperature=0.0)
    request = GenerationRequest(
        prompt_ids=pick_tokenizer(vocabulary).encode_ordinary("Here is a list of ten cities, one a line:\n"),
        vocabulary=vocabulary,
        model=model,
        options=options,
    )
    whole, _ = await ids_of(engine, request)
    assert len(whole) == length
    if stops == "stop id":  # one that the answer reaches for the first time somewhere after its beginning
        stop = next(
            token for place, token in enumerate(whole) if place > length // 4 and token not in whole[:place]
        )
        options = msgspec.structs.replace(options, stop_token_ids=(stop,))
    elif stops == "stop text":
        options = msgspec.structs.replace(
            options, stop=(vocabulary.token_bytes(whole[length // 2]).decode(),)
        )
    found = {}
    received = {}
    for interval in intervals:
        asked = msgspec.structs.replace(request, options=options, stream_interval=interval)
        ids, stats = await ids_of(engine, asked)
        found[interval] = (ids, stats.finish_reason)
        received[interval] = stats.bytes_received
    await engine.aclose()
    assert all(each == found[1] for each in found.values()), found
    assert found[1][0] == whole[: len(found[1][0])]
    assert found[1][1] == {"limit": "length", "stop id": "stop", "stop text": "stop_sequence"}[stops]
    if stops == "limit":
        assert received[16] < received[1] / 3
