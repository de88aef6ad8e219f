"""Log probabilities and ids through the gateway, in the forms of OpenAI's API and vLLM's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from codec_agents.engines.base import SamplingOptions
from codec_agents.exceptions import RecordError
from codec_agents.server.backends.backend import BrokenOffError, Job, ServedModel
from codec_agents.server.gateway.kept_values import KeptValues
from codec_agents.server.logprobs import LEAST, Logprobs
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import with_values
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.agents.server.gateway.test_gateway import TOOL, USER, logprob_of, of_stream, serving

pytestmark = pytest.mark.asyncio

VOCABULARY = vocabulary_of(small_map_of("qwen3"))
HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


def entries(ids: list[int], *, top: bool = False) -> list[dict[str, Any]]:
    """Return what chats have for these ids; a scripted model has each id as its only alternative."""
    found = []
    for token in ids:
        spelled = VOCABULARY.token_bytes(token)
        name = spelled.decode("utf-8", "replace")
        one = {"token": name, "logprob": logprob_of(token), "bytes": list(spelled)}
        found.append({**one, "top_logprobs": [one] if top else []})
    return found


async def test_a_chat_has_the_log_probability_of_each_sampled_id() -> None:
    async with serving() as gateway:
        body = {**HI, "logprobs": True, "top_logprobs": 1, "return_token_ids": True}
        whole = (await gateway.ask(**body)).json()
        [choice] = whole["choices"]
        ids = list(gateway.generations[0].ids)
        assert choice["token_ids"] == ids
        assert whole["prompt_token_ids"] == list(gateway.generations[0].prompt_ids)
        assert choice["logprobs"] == {"content": entries(ids, top=True)}
        events = of_stream(await gateway.ask(**body, stream=True))
        choices = [event["choices"][0] for event in events]
        found = [each for one in choices for each in (one["logprobs"] or {"content": []})["content"]]
        assert found == entries(ids, top=True)
        assert [token for one in choices for token in one["token_ids"]] == ids
        assert events[0]["prompt_token_ids"] == whole["prompt_token_ids"]
        bare = (await gateway.ask(**HI, logprobs=True, return_tokens_as_token_ids=True)).json()
        named = bare["choices"][0]["logprobs"]["content"]
        assert [each["token"] for each in named] == [f"token_id:{token}" for token in ids]


async def test_a_chat_that_asks_for_none_gets_none_though_they_are_recorded(tmp_path: Any) -> None:
    async with serving(record=tmp_path, record_logprobs=True) as gateway:
        assert (await gateway.ask(**HI)).json()["choices"][0]["logprobs"] is None
        framed = await gateway.ask(**HI, stream=True, stream_format="msgpack")
        assert b"values" not in framed.content


async def test_log_probabilities_for_records_need_records() -> None:
    with pytest.raises(RecordError, match="give `record`, too"):
        async with serving(record_logprobs=True):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_have_them_at_the_text_that_they_are_of(streamed: bool) -> None:
    async with serving() as gateway:
        body: dict[str, Any] = {"input": "Hi", "include": ["message.output_text.logprobs"], "top_logprobs": 1}
        answer = await gateway.ask("/v1/responses", **body, stream=streamed)
        [generation] = gateway.generations
        text = "It is ."
        if streamed:
            events = [
                json.loads(line.removeprefix("data: "))
                for line in answer.text.splitlines()
                if line.startswith("data: {")
            ]
            kinds = {"response.output_text.delta": [], "response.output_text.done": []}
            for event in events:
                if event["type"] in kinds:
                    kinds[event["type"]] += event["logprobs"]
            found, done = kinds.values()
            assert found == done
            response = events[-1]["response"]
        else:
            response = answer.json()
            found = response["output"][-1]["content"][0]["logprobs"]
        assert response["output"][-1]["content"][0]["logprobs"] == found
        assert "".join(each["token"] for each in found) == text
        start = len(generation.ids) - len(found) - 1  # the last id is the end of the turn
        assert found == entries(list(generation.ids[start:-1]), top=True)


@pytest.mark.slow
async def test_completions_have_them_by_name_and_place() -> None:
    async with serving() as gateway:
        body = {"prompt": "Hi", "logprobs": 1, "max_tokens": 4, "return_token_ids": True}
        [choice] = (await gateway.ask("/v1/completions", **body)).json()["choices"]
        values, ids = choice["logprobs"], choice["token_ids"]
        names = [VOCABULARY.token_bytes(token).decode("utf-8", "replace") for token in ids]
        assert values["tokens"] == names
        assert values["token_logprobs"] == [logprob_of(token) for token in ids]
        assert values["top_logprobs"] == [
            {name: logprob_of(token)} for name, token in zip(names, ids, strict=True)
        ]
        assert values["text_offset"] == [sum(map(len, names[:place])) for place in range(len(names))]
        events = of_stream(await gateway.ask("/v1/completions", **body, stream=True))
        assert [one for event in events for one in event["choices"][0]["logprobs"]["tokens"]] == names


@pytest.mark.slow
async def test_the_openai_client_reads_them_in_chats_and_responses() -> None:
    async with serving() as gateway, AsyncOpenAI(base_url=f"{gateway.server.url}/v1", api_key="k") as client:
        whole = await client.chat.completions.create(model="m", **HI, logprobs=True, top_logprobs=1)
        assert whole.choices[0].logprobs is not None
        assert whole.choices[0].logprobs.content
        async with client.chat.completions.stream(model="m", **HI, logprobs=True) as stream:
            async for _ in stream:
                pass
            logprobs = (await stream.get_final_completion()).choices[0].logprobs
        assert logprobs is not None
        assert len(logprobs.content or ()) == len(whole.choices[0].logprobs.content)
        async with client.responses.stream(
            model="m", input="Hi", include=["message.output_text.logprobs"]
        ) as responses:
            async for _ in responses:
                pass
            final = await responses.get_final_response()
        [part] = final.output[-1].content  # type: ignore[union-attr]
        assert "".join(each.token for each in part.logprobs or ()) == "It is ."  # type: ignore[union-attr]


@pytest.mark.slow
async def test_a_retry_gets_the_same_values() -> None:
    async with serving() as gateway:
        body = {"messages": [USER], "tools": [TOOL], "logprobs": True}
        key = {"idempotency-key": "one"}
        first = (await gateway.ask(headers=key, **body)).json()
        again = (await gateway.ask(headers=key, **body)).json()
        assert first["choices"] == again["choices"]
        assert len(gateway.generations) == 1 or first["id"] == again["id"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", {**HI, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ("/v1/responses", {"input": "Hi", "top_logprobs": 2}, "top_logprobs"),
        ("/v1/completions", {"prompt": "Hi", "logprobs": 21}, "logprobs"),
    ],
)
async def test_too_many_alternatives_are_refused_by_name(path: str, body: Any, field: str) -> None:
    async with serving() as gateway:
        refused = await gateway.ask(path, **body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


async def test_an_engine_that_leaves_values_out_breaks_the_answer_off() -> None:
    logprobs = Logprobs(Job(ServedModel("m", VOCABULARY), [1], SamplingOptions()), 1)
    with pytest.raises(BrokenOffError, match="0 log probabilities"):
        logprobs.content(CodecFrame((1,), done=False))
    lost = with_values(CodecFrame((1,), done=False), SampledValues((float("-inf"),), (((2, -0.5),),)))
    [entry] = logprobs.content(lost)
    assert (entry["logprob"], entry["top_logprobs"][0]["logprob"]) == (LEAST, -0.5)


async def test_an_alternative_that_no_map_has_is_named_by_its_id() -> None:
    """Models have more rows of scores than their maps have tokens."""
    logprobs = Logprobs(Job(ServedModel("m", VOCABULARY), [1], SamplingOptions()), 1)
    beyond = VOCABULARY.size + 7
    padded = with_values(CodecFrame((1,), done=False), SampledValues((-1.0,), (((beyond, -0.5),),)))
    [entry] = logprobs.content(padded)
    assert entry["top_logprobs"] == [{"token": f"token_id:{beyond}", "logprob": -0.5, "bytes": None}]
    assert f"token_id:{beyond}" in logprobs.of_completion(padded)["top_logprobs"][0]


async def test_values_that_are_too_many_are_not_kept_for_a_repeated_answer() -> None:
    few, many = KeptValues(), KeptValues()
    values = SampledValues((-1.0,), (((1, -1.0), (2, -2.0)),))
    few.add(values)
    few.pack(1)
    assert (few.of(1), few.lost) == (values, False)
    for _ in range(3000):
        many.add(SampledValues((-1.0,), (((1, -1.0),) * 40,)))
    many.pack(3000)
    assert (many.of(3000), many.lost) == (None, True)
