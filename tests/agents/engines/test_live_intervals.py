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

INTERVALS = (1, 4, 16, 64)
IDS = 90
"""Not a multiple of any interval: the last event holds the rest."""


async def ids_of(engine: VllmEngine, request: GenerationRequest) -> tuple[list[int], Any]:
    ids: list[int] = []
    async with engine.stream(request) as frames:
        async for frame in frames:
            ids += frame.ids
        return ids, frames.stats


@pytest.mark.parametrize("api", ["auto", "completions"])
@pytest.mark.parametrize("stops", ["limit", "stop id", "stop text"])
async def test_ids_are_the_same_at_every_interval(api: Any, stops: str) -> None:
    url, tokenizer_map, model = live_engine("vllm")
    vocabulary = vocabulary_of(tokenizer_map)
    engine = VllmEngine(url, api=api)
    options = SamplingOptions(max_tokens=IDS, temperature=0.0)
    request = GenerationRequest(
        prompt_ids=pick_tokenizer(vocabulary).encode_ordinary("Here is a list of ten cities, one a line:\n"),
        vocabulary=vocabulary,
        model=model,
        options=options,
    )
    whole, _ = await ids_of(engine, request)
    assert len(whole) == IDS
    if stops == "stop id":  # one that the answer reaches for the first time somewhere after its beginning
        stop = next(token for place, token in enumerate(whole) if place > 20 and token not in whole[:place])
        options = msgspec.structs.replace(options, stop_token_ids=(stop,))
    elif stops == "stop text":
        options = msgspec.structs.replace(options, stop=(vocabulary.token_bytes(whole[40]).decode(),))
    found = {}
    received = {}
    for interval in INTERVALS:
        asked = msgspec.structs.replace(request, options=options, stream_interval=interval)
        ids, stats = await ids_of(engine, asked)
        found[interval] = (ids, stats.finish_reason)
        received[interval] = stats.bytes_received
    await engine.aclose()
    assert all(each == found[1] for each in found.values()), found
    assert found[1][0] == whole[: len(found[1][0])]
    assert found[1][1] == {"limit": "length", "stop id": "stop", "stop text": "stop_sequence"}[stops]
    if stops == "limit":
        print({interval: f"{size / IDS:.1f} bytes an id" for interval, size in received.items()})
        assert received[16] < received[1] / 3
