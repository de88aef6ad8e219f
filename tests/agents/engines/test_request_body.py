"""What engines are asked, in their own words."""

import pytest

from codec_agents.engines import llamacpp, openai, sglang
from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.request_body import OPENAI_WORDS, for_model, sampling

FULL = SamplingOptions(
    max_tokens=9, temperature=0.0, top_p=0.5, top_k=0, seed=0, stop_token_ids=(1, 2), stop=("x",)
)
OPTIONS = set(SamplingOptions.__struct_fields__) - {"extra"}


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        (OPENAI_WORDS, set()),
        (sglang.WORDS, set()),
        (openai.WORDS, {"top_k", "stop_token_ids"}),
        (llamacpp.WORDS, {"max_tokens", "stop_token_ids"}),
    ],
)
def test_each_option_has_a_word_or_is_left_out_on_purpose(words, left_out):
    assert OPTIONS - words.keys() == left_out
    assert sampling(FULL, words) == {word: getattr(FULL, option) for option, word in words.items()}


def test_what_is_not_set_is_left_to_the_engine():
    assert sampling(SamplingOptions(max_tokens=3)) == {"max_tokens": 3}


def test_the_users_own_fields_stand_as_they_are_and_win():
    options = SamplingOptions(max_tokens=3, temperature=1.0, extra={"temperature": None, "min_p": 0.1})
    assert sampling(options) == {"max_tokens": 3, "temperature": None, "min_p": 0.1}


def test_a_model_is_named_where_there_is_one(words):
    request = GenerationRequest(prompt_ids=[1], vocabulary=words)
    body = {"prompt": [1]}
    assert for_model(request, body) == body
    named = GenerationRequest(prompt_ids=[1], vocabulary=words, model="m")
    assert for_model(named, body) == {"prompt": [1], "model": "m"}
    assert body == {"prompt": [1]}
