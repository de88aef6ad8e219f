"""Values of sampled ids: those of the engine's own answer, id by id, or a typed error; and nothing unasked.

`tests/vectors/engine_values` holds answers of real servers, byte by byte, which name their versions.
"""

import json
import math
from pathlib import Path

import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions, StreamStats
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.stream import merged
from codec_agents.engines.llamacpp import CompletionEvents as LlamaEvents
from codec_agents.engines.llamacpp import LostIdsError
from codec_agents.engines.sglang import GenerateEvents, SglangEngine
from codec_agents.engines.stock.openai_ids import CompletionEvents
from codec_agents.engines.values import TurnValues, ValuesError
from codec_agents.exceptions import EngineError
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.testing import Say, ScriptedModel
from codec_core.frames import CodecFrame, SampledValues, ValuedFrame, WeightVersion
from codec_core.frames.values import joined_values
from tests.benchmarks.values import ABOUT_VALUES, calls_of, run_of

VECTORS = Path(__file__).parents[2] / "vectors" / "engine_values"
VLLM = json.loads((VECTORS / "vllm.json").read_text())
LLAMACPP = json.loads((VECTORS / "llamacpp.json").read_text())
SGLANG = json.loads((VECTORS / "sglang.json").read_text())


def asking(words, top, prompt=VLLM["prompt"]):
    return GenerationRequest(
        prompt_ids=prompt, vocabulary=words, options=SamplingOptions(logprobs=top, max_tokens=6)
    )


def read(parser, stream, cut):
    data, frames = stream.encode(), []
    for at in range(0, len(data), cut):
        frames += parser.feed(data[at : at + cut])
    return [*frames, *parser.close()]


def whole(frames):
    """Return all ids and all values of an answer."""
    ids = [token for frame in frames for token in frame.ids]
    return ids, joined_values([frame.values for frame in frames if frame.values is not None])


# --- what real servers answered ---


@pytest.mark.parametrize("cut", [61, 10**6])
@pytest.mark.parametrize("name", sorted(VLLM["requests"]))
def test_vllms_completions_equal_its_answer_in_one_piece(words, name, cut):
    case = VLLM["requests"][name]["completions"]
    top = {"greedy": 2, "hot": 2, "alone": 0}[name]
    ids, values = whole(read(CompletionEvents("E", asking(words, top), StreamStats()), case["stream"], cut))
    raw = case["whole"]
    assert ids == raw["token_ids"]
    assert list(values.logprobs) == raw["logprobs"]["token_logprobs"]
    for row, said in zip(values.top, raw["logprobs"]["top_logprobs"], strict=bool(top)):
        assert len(row) == top
        assert list(row) == sorted(row, key=lambda each: -each[1])
        assert all(said[f"token_id:{token}"] == logprob for token, logprob in row)


@pytest.mark.parametrize("name", sorted(VLLM["requests"]))
def test_vllms_generate_equals_its_answer_in_one_piece(words, name):
    case = VLLM["requests"][name]["generate"]
    top = {"greedy": 2, "hot": 2, "alone": 0}[name]
    ids, values = whole(read(CompletionEvents("E", asking(words, top), StreamStats()), case["stream"], 999))
    content = case["whole"]["logprobs"]["content"]
    assert ids == case["whole"]["token_ids"]
    assert list(values.logprobs) == [each["logprob"] for each in content]
    assert values.weight_versions == (WeightVersion("default", 0, 6),)
    for row, said in zip(values.top, content, strict=bool(top)):
        # The sampled id is always among them, and counts only where it is one of the most probable.
        best = [(each["token_id"], each["logprob"]) for each in said["top_logprobs"] if each["rank"] <= top]
        assert list(row) == sorted(best, key=lambda each: -each[1])
    assert bool(values.top) == bool(top)


@pytest.mark.parametrize("name", sorted(SGLANG["requests"]))
def test_sglangs_generate_gives_the_values_of_its_last_event(name):
    """Its events repeat all values, as they repeat all ids."""
    stream = SGLANG["requests"][name]["generate"]["stream"]
    top = {"greedy": 2, "hot": 2, "alone": 0}[name]
    ids, values = whole(read(GenerateEvents("E", StreamStats(), top=top), stream, 333))
    last = json.loads([line for line in stream.splitlines() if line.startswith("data: {")][-1][6:])
    meta = last["meta_info"]
    assert ids == last["output_ids"]
    assert list(values.logprobs) == [logprob for logprob, _, _ in meta["output_token_logprobs"]]
    assert values.weight_versions == (WeightVersion("default", 0, len(ids)),)
    for row, said in zip(values.top, meta.get("output_top_logprobs", []), strict=True):
        assert list(row) == [(token, logprob) for logprob, token, _ in said]


@pytest.mark.parametrize("name", sorted(LLAMACPP["requests"]))
def test_llamacpps_stream_equals_its_answer_in_one_piece(words, name):
    case = LLAMACPP["requests"][name]["completion"]
    top = {"greedy": 2, "hot": 2, "alone": 0}[name]
    ids, values = whole(read(LlamaEvents("E", StreamStats(), asking(words, top)), case["stream"], 333))
    raw = case["whole"]["completion_probabilities"]
    assert ids == case["whole"]["tokens"]
    assert list(values.logprobs) == [each["logprob"] for each in raw]
    for row, said in zip(values.top, raw, strict=bool(top)):
        assert list(row) == [(each["id"], each["logprob"]) for each in said["top_logprobs"]]


def test_ids_that_llamacpp_did_not_send_have_no_values(words):
    """Their text would tell them; their log probabilities it does not tell."""
    lost = {"content": "Take", "tokens": [7], "stop": False, "tokens_predicted": 2}
    with pytest.raises(LostIdsError):
        LlamaEvents("E", StreamStats(), asking(words, 0)).feed(f"data: {json.dumps(lost)}\n\n".encode())


def test_sglangs_completions_give_log_probabilities_and_no_alternatives(words):
    stream = SGLANG["requests"]["alone"]["completions"]["stream"]
    ids, values = whole(read(CompletionEvents("E", asking(words, 0), StreamStats()), stream, 333))
    assert len(values.logprobs) == len(ids) == 6
    engine = SglangEngine("http://127.0.0.1:1", api="completions")
    with pytest.raises(EngineError, match="api: generate"):
        engine._outgoing(asking(words, 3))
    assert engine._outgoing(asking(words, 0)).path == "/v1/completions"
    engine = SglangEngine("http://127.0.0.1:1")
    engine._completes = True
    assert engine._outgoing(asking(words, 3)).path == "/generate"


# --- what is refused ---


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"tokens":["token_id:7042"]', '"tokens":["token_id:7043"]', "another id"),
        ('"token_logprobs":[-0.2532416582107544]', '"token_logprobs":[null]', "no log probability"),
        ('"token_logprobs":[-0.2532416582107544]', '"token_logprobs":[-1,-2]', "2 logprobs for 1 ids"),
        ('[{"token_id:7042":-0.25', '[{" Paris":-0.25', "do not tell their ids"),
    ],
)
def test_values_that_do_not_fit_their_ids_are_a_typed_error(words, old, new, said):
    stream = VLLM["requests"]["greedy"]["completions"]["stream"]
    assert old in stream
    with pytest.raises(ValuesError, match=said) as raised:
        read(CompletionEvents("E", asking(words, 2), StreamStats()), stream.replace(old, new), 99)
    assert not raised.value.transient


def test_a_log_probability_of_another_id_is_refused_of_sglang():
    stream = SGLANG["requests"]["greedy"]["generate"]["stream"].replace(",7042,null]", ",7043,null]")
    with pytest.raises(ValuesError, match="of another id"):
        read(GenerateEvents("E", StreamStats(), top=2), stream, 99)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (SampledValues((math.nan,)), "NaN or infinite"),
        (SampledValues((math.inf,)), "NaN or infinite"),
        (SampledValues((-1.0,), (((1, math.nan),),)), "NaN or infinite"),
        (SampledValues((-1.0,), (((-1, -2.0),),)), "an alternative that is no id"),
        (SampledValues((-1.0,), (((2**32, -2.0),),)), "an alternative that is no id"),
        (SampledValues((-1.0,), sampling_mask=((2**32,),)), "an alternative that is no id"),
        (SampledValues((-1.0,), weight_versions=(WeightVersion("7", -1, 1),)), "a range that is none"),
        (SampledValues((-1.0,), weight_versions=(WeightVersion("7", 2, 1),)), "a range that is none"),
        (SampledValues((-1.0,), weight_versions=(WeightVersion("7", 0, 2**53),)), "a range that is none"),
    ],
)
def test_values_that_no_record_can_hold_are_a_typed_error(values, said):
    """Written all the same, NaN is read back as minus infinity, and the others as a damaged line."""
    turn = TurnValues("e", SamplingOptions(logprobs=1 if values.top else 0))
    with pytest.raises(ValuesError, match=said):
        turn.add(ValuedFrame((7,), done=False, values=values))


def test_minus_infinity_is_a_log_probability():
    turn = TurnValues("e", SamplingOptions(logprobs=1))
    values = SampledValues((-1.0,), (((7, -1.0), (8, -math.inf)),))
    assert turn.add(ValuedFrame((7,), done=False, values=values)) == values


def test_an_engine_that_was_asked_and_gives_nothing_is_an_error():
    values = TurnValues("E", SamplingOptions(logprobs=0))
    with pytest.raises(ValuesError, match="without log probability"):
        values.add(CodecFrame((1,), False))
    with pytest.raises(ValuesError, match="without alternatives"):
        TurnValues("E", SamplingOptions(logprobs=2)).add(
            ValuedFrame((1,), False, None, SampledValues((-1.0,)))
        )
    with pytest.raises(ValuesError, match="2 logprobs for 1 ids"):
        values.add(ValuedFrame((1,), False, None, SampledValues((-1.0, -2.0))))
    assert values.add(CodecFrame((), True)) is None


# --- the turn ---


def test_a_turn_of_two_requests_keeps_the_places_of_its_weights():
    values = TurnValues("E", SamplingOptions(logprobs=0))
    values.begin(0)
    values.add(ValuedFrame((1, 2), False, None, SampledValues((-1.0, -2.0))))
    values.begin(2)
    values.add(ValuedFrame((3,), False, None, SampledValues((-3.0,))))
    values.add(ValuedFrame((), True, "stop", SampledValues(weight_versions=(WeightVersion("b", 0, 1),))))
    assert values.logprobs == [-1.0, -2.0, -3.0]
    assert values.versions == [WeightVersion("b", 2, 3)]


def test_frames_that_arrive_together_are_one_with_their_values():
    frames = [ValuedFrame((n,), False, None, SampledValues((-float(n),))) for n in (1, 2)]
    end = ValuedFrame((), True, "stop", SampledValues(routed_experts="AQ=="))
    assert merged([*frames, end]) == [
        ValuedFrame((1, 2), True, "stop", SampledValues((-1.0, -2.0), routed_experts="AQ=="))
    ]
    assert merged([CodecFrame((1,), False), end])[0].values == SampledValues(routed_experts="AQ==")


# --- this project's own server ---


@pytest.mark.anyio
@pytest.mark.parametrize("wire_format", ["msgpack", "protobuf-delta", "msgpack-packed"])
async def test_values_cross_our_own_wire(words, wire_format):
    model = ScriptedModel(
        script=lambda _: Say("Take the train."), logprob=lambda token: -float(token), weight_version="step-7"
    )
    async with EmbeddedServer(create_app(ScriptedBackend.of(words, model))) as server:
        engine = CodecEngine(server.url, format=wire_format)
        request = asking(words, 1, prompt=[5])
        plain = GenerationRequest(prompt_ids=[5], vocabulary=words)
        try:
            async with engine.stream(request) as stream:
                ids, values = whole([frame async for frame in stream])
            async with engine.stream(plain) as stream:
                assert all(frame.values is None for frame in [frame async for frame in stream])
        finally:
            await engine.aclose()
    assert values.logprobs == tuple(-float(token) for token in ids)
    assert values.top == tuple(((token, -float(token)),) for token in ids)
    assert values.weight_versions == (WeightVersion("step-7", 0, len(ids)),)


@pytest.mark.parametrize(("asked", "deals"), [({}, False), ({"logprobs": 0}, True)], ids=["off", "on"])
def test_a_run_without_values_calls_no_function_that_deals_with_them(asked, deals):
    calls = calls_of(run_of(asked, 5, None))
    assert any(file.endswith(ABOUT_VALUES) for file in calls) is deals
