"""A prompt that is written down as it grows says what the whole list says."""

from __future__ import annotations

import random

import msgspec
import pytest

from codec_agents.engines.base import GenerationRequest
from codec_agents.engines.http.engine import check_prompt
from codec_agents.engines.prompt_body import EncodedPrompt, json_of
from codec_agents.exceptions import EngineError
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of

VOCABULARY = vocabulary_of(bundled_map("demo/bytes"))
OTHER = vocabulary_of(bundled_map("demo/words"))


@pytest.mark.parametrize("seed", range(20))
def test_however_it_grew_it_is_the_list_that_went_in(seed: int) -> None:
    rng = random.Random(seed)
    ids = [rng.randrange(VOCABULARY.size) for _ in range(rng.randrange(1, 300))]
    prompt, position = EncodedPrompt(VOCABULARY), 0
    while position < len(ids):
        step = rng.randrange(0, 40)
        if rng.random() < 0.2:
            prompt = prompt.extended(ids[position : position + step])
        else:
            prompt += ids[position : position + step]
        position += step
        if rng.random() < 0.5:
            prompt.write()
    assert prompt == ids
    assert prompt.checked_for(VOCABULARY)
    assert msgspec.json.decode(prompt.json()) == ids
    assert msgspec.json.encode({"prompt": json_of(prompt)}) == msgspec.json.encode({"prompt": ids})


def test_a_longer_prompt_leaves_the_shorter_one_as_it_was() -> None:
    short = EncodedPrompt(VOCABULARY).extended([1, 2])
    short.write()
    longer = short.extended([3])
    assert (list(short), list(longer)) == ([1, 2], [1, 2, 3])
    assert longer.checked_for(VOCABULARY)
    assert (bytes(short.json()), bytes(longer.json())) == (b"[1,2]", b"[1,2,3]")


def test_other_lists_go_into_bodies_as_they_are() -> None:
    assert json_of([1, 2]) == [1, 2]


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_an_id_outside_the_map_is_found_wherever_it_was_added(cut: int) -> None:
    ids = [5, VOCABULARY.size, 7]
    prompt = EncodedPrompt(VOCABULARY).extended(ids[:cut])
    prompt.write()
    prompt += ids[cut:]
    assert not prompt.checked_for(VOCABULARY)
    with pytest.raises(EngineError, match=f"id {VOCABULARY.size} is not in the map"):
        check_prompt("b", GenerationRequest(prompt_ids=prompt, vocabulary=VOCABULARY))


def test_it_is_not_trusted_for_another_vocabulary() -> None:
    beyond = min(VOCABULARY.size, OTHER.size)
    wide, narrow = sorted((VOCABULARY, OTHER), key=lambda vocabulary: -vocabulary.size)
    prompt = EncodedPrompt(wide).extended([beyond])
    assert prompt.checked_for(wide)
    with pytest.raises(EngineError, match="not in the map"):
        check_prompt("b", GenerationRequest(prompt_ids=prompt, vocabulary=narrow))
