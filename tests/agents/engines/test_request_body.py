"""Sampling options: each is at its place on every API, or is refused; none is lost in silence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from codec_agents.engines import request_body
from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.request_body import CLIENT_SIDE, for_model, place_options
from codec_agents.exceptions import EngineError

TABLES = {
    name: getattr(request_body, name)
    for name in (
        "CODEC", "VLLM_COMPLETIONS", "VLLM_GENERATE", "SGLANG_COMPLETIONS", "SGLANG_GENERATE", "LLAMACPP",
        "OPENAI_COMPLETIONS", "OPENAI_CHAT",
    )
}  # fmt: skip

SCHEMA = {"type": "object"}
VALUES: dict[str, Any] = {
    "max_tokens": 9, "temperature": 0.0, "top_p": 0.5, "top_k": 7, "seed": 0, "stop_token_ids": (1, 2),
    "stop": ("x",), "min_p": 0.25,
    "presence_penalty": 0.5, "frequency_penalty": 0.75, "repetition_penalty": 1.5,
    "min_tokens": 3, "logprobs": 4, "cache_salt": "salt", "priority": 11, "session": "session-1",
}  # fmt: skip


def placed(table: str, options: SamplingOptions) -> tuple[dict[str, Any], dict[str, str]]:
    body: dict[str, Any] = {"sampling_params": {}} if table.endswith("GENERATE") else {}
    headers = place_options("E", options, TABLES[table], body)
    return body, headers


def test_every_option_is_tested():
    assert {*VALUES, "structured", "extra"} == set(SamplingOptions.__struct_fields__)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("option", VALUES)
def test_an_option_is_sent_or_refused(table, option):
    options = SamplingOptions(**{option: VALUES[option]})
    if option not in TABLES[table] and option not in CLIENT_SIDE:
        with pytest.raises(EngineError, match=f"no sampling option '{option}'"):
            placed(table, options)
        return
    body, headers = placed(table, options)
    if option in TABLES[table]:
        sent = msgspec.json.encode([body, headers])
        assert msgspec.json.encode(VALUES[option]) in sent or str(VALUES[option]).encode() in sent


FORMS = {
    "json_schema": SCHEMA,
    "regex": "[a-z]+",
    "grammar": 'root ::= "a"',
    "choice": ["a", "b"],
    "ids": [3, 9],
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", FORMS)
def test_structured_output_is_sent_or_refused(table, form):
    options = SamplingOptions(structured={form: FORMS[form]})
    if f"structured.{form}" not in TABLES[table]:
        with pytest.raises(EngineError, match=f"no sampling option 'structured.{form}'"):
            placed(table, options)
    else:
        assert placed(table, options) != placed(table, SamplingOptions())


def test_the_words_of_each_engine():
    options = SamplingOptions(
        max_tokens=2, seed=1, min_tokens=1, logprobs=0, structured={"json_schema": SCHEMA}
    )
    assert placed("SGLANG_GENERATE", options)[0] == {
        "sampling_params": {
            "max_new_tokens": 2, "sampling_seed": 1, "min_new_tokens": 1, "json_schema": '{"type":"object"}',
        },
        "return_logprob": True, "top_logprobs_num": 0,
    }  # fmt: skip
    assert placed("VLLM_GENERATE", options)[0]["sampling_params"] == {
        "max_tokens": 2, "seed": 1, "min_tokens": 1, "logprobs": 0, "structured_outputs": {"json": SCHEMA},
    }  # fmt: skip
    body, headers = placed("VLLM_GENERATE", SamplingOptions(cache_salt="a", priority=1, session="s"))
    assert (body["cache_salt"], body["priority"]) == ("a", 1), "beside the sampling parameters, not in them"
    assert headers == {"X-Session-ID": "s"}


def test_what_is_not_set_is_left_to_the_engine():
    assert placed("CODEC", SamplingOptions(max_tokens=3)) == ({"max_tokens": 3}, {})


def test_what_the_user_adds_goes_where_the_user_says():
    extra = {"body": {"a": 1}, "sampling_params": {"b": 2}, "headers": {"X-C": "3"}, "min_p": 0.1}
    body, headers = placed("VLLM_GENERATE", SamplingOptions(max_tokens=3, extra=extra))
    assert body == {"a": 1, "sampling_params": {"max_tokens": 3, "b": 2, "min_p": 0.1}}
    assert headers == {"X-C": "3"}


def test_an_unknown_option_without_a_place_is_a_fault():
    with pytest.raises(EngineError, match=r"unknown option 'cache_slat'; name its place: extra: \{body: "):
        placed("CODEC", SamplingOptions(extra={"cache_slat": "x"}))
    with pytest.raises(EngineError, match="has no sampling_params"):
        placed("CODEC", SamplingOptions(extra={"sampling_params": {"a": 1}}))


def test_the_only_ids_that_may_be_drawn_are_allowed_or_preferred_to_all_others():
    options = SamplingOptions(max_tokens=1, structured={"ids": [3, 9]})
    assert placed("VLLM_COMPLETIONS", options)[0]["allowed_token_ids"] == [3, 9]
    assert placed("VLLM_GENERATE", options)[0]["sampling_params"]["allowed_token_ids"] == [3, 9]
    assert placed("SGLANG_COMPLETIONS", options)[0]["logit_bias"] == {"3": 1000.0, "9": 1000.0}
    assert placed("SGLANG_GENERATE", options)[0]["sampling_params"]["logit_bias"] == {
        "3": 1000.0,
        "9": 1000.0,
    }
    assert placed("LLAMACPP", options)[0]["logit_bias"] == [(3, 1000.0), (9, 1000.0)]


@pytest.mark.parametrize("logprobs", [0, 5])
def test_vllm_is_asked_for_no_more_values_than_it_gives(logprobs):
    """It refuses more than 20 with an error: a router with more labels has the values of those it gives."""
    for count, asked in ((20, True), (21, False)):
        options = SamplingOptions(max_tokens=1, logprobs=logprobs, structured={"ids": list(range(count))})
        params = placed("VLLM_GENERATE", options)[0]["sampling_params"]
        assert params["logprobs"] == (count if asked else logprobs)
        assert ("logprob_token_ids" in params) == asked
        assert len(params["allowed_token_ids"]) == count


def test_a_request_for_one_id_has_only_what_one_id_can_have():
    extra = {"body": {"lora_path": "l", "n": 2}, "min_tokens": 2}
    options = SamplingOptions(
        max_tokens=9, min_tokens=5, logprobs=3, cache_salt="s", stop=("x",), extra=extra
    )
    wanted = SamplingOptions(max_tokens=1, cache_salt="s", extra={"body": {"lora_path": "l"}})
    assert options.of_prefill() == wanted
    assert options.of_prefill(0) == msgspec.structs.replace(wanted, max_tokens=0)


@pytest.mark.parametrize(
    ("table", "place", "field"),
    [
        ("LLAMACPP", "body", "n_predict"),
        ("LLAMACPP", "body", "max_tokens"),
        ("SGLANG_GENERATE", "sampling_params", "max_new_tokens"),
        ("SGLANG_GENERATE", "body", "return_hidden_states"),
        ("VLLM_GENERATE", "sampling_params", "max_tokens"),
        ("VLLM_GENERATE", "sampling_params", "prompt_logprobs"),
        ("VLLM_COMPLETIONS", "body", "max_completion_tokens"),
        ("VLLM_COMPLETIONS", "body", "echo"),
    ],
)
def test_no_field_of_the_user_makes_a_request_ahead_a_whole_answer(table, place, field):
    with_field = SamplingOptions(max_tokens=9, extra={place: {field: 500}})
    without = SamplingOptions(max_tokens=9)
    assert placed(table, with_field) != placed(table, without)
    assert placed(table, with_field.of_prefill()) == placed(table, without.of_prefill())


def test_a_model_is_named_where_there_is_one(words):
    request = GenerationRequest(prompt_ids=[1], vocabulary=words)
    body = {"prompt": [1]}
    assert for_model(request, body) == body
    named = GenerationRequest(prompt_ids=[1], vocabulary=words, model="m")
    assert for_model(named, body) == {"prompt": [1], "model": "m"}
    assert body == {"prompt": [1]}
