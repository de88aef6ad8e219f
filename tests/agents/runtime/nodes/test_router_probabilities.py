"""A router tells how probable its labels were, as far as its engine tells it."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codec_agents import Pipeline, PipelineError
from codec_agents.engines.base import FrameStream, GenerationRequest, SamplingOptions, StreamStats
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.llamacpp import Completion, LlamaCppEngine, values_of
from codec_agents.engines.sglang import GenerateEvents, SglangEngine
from codec_agents.engines.stock.openai_values import ChoiceLogprobs, values_of_ids
from codec_agents.engines.vllm import VllmEngine
from codec_agents.events import NodeFinished
from codec_agents.testing import Say, ScriptedEngine
from codec_agents.trace import read_runs
from codec_agents.vocabularies import bundled_map
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import with_values
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

pytestmark = pytest.mark.anyio

BYTES = vocabulary_of(bundled_map("demo/bytes"))
LEFT, RIGHT = (pick_tokenizer(BYTES).encode_ordinary(label)[0] for label in ("left", "right"))


class Telling(ScriptedEngine):
    """An engine that draws from the ids that it is told, and gives the log probabilities of some of them."""

    enforced_forms = frozenset({"choice", "ids"})

    def __init__(self, told: Sequence[tuple[int, float]]) -> None:
        super().__init__(lambda _: Say("right"))
        self._told = tuple(told)

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
        async with super().stream(request) as frames:
            yield _Valued(frames, self._told if request.options.logprobs is not None else ())


class _Valued:
    def __init__(self, frames: FrameStream, told: tuple[tuple[int, float], ...]) -> None:
        self.stats = frames.stats
        self._frames, self._told = frames, told

    async def __aiter__(self) -> AsyncIterator[CodecFrame]:
        async for frame in self._frames:
            if frame.ids and self._told:
                own = dict(self._told).get(frame.ids[0], -0.5)
                yield with_values(frame, SampledValues((own,), (self._told,)))
            else:
                yield frame


def routing(engine: Any, **sampling: Any) -> Pipeline:
    p = Pipeline("route").input("q").sink("out", text=False)
    labels = {"left": "a", "right": "b"}
    p.router("way", engine=engine, map="demo/bytes", prompt="{q}", labels=labels, sampling=sampling)
    for name in "ab":
        p.function(name, lambda value: value, map="demo/bytes")
        p.connect("q", f"{name}.value").connect(name, "out")
    return p.connect("q", "way.q")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(RIGHT, -0.25), (LEFT, -2.0)], {"left": math.exp(-2.0), "right": math.exp(-0.25)}),
        ([(LEFT, -2.0)], {"left": math.exp(-2.0), "right": math.exp(-0.5)}),
        ([(RIGHT, 0.001), (LEFT, 800.0)], {"right": math.exp(0.001)}),  # a score, of which there is no `exp`
        ([(1, -0.1)], {"right": math.exp(-0.5)}),
    ],
    ids=["all", "the chosen one apart", "a score", "the chosen one alone"],
)
async def test_a_result_a_record_and_a_trace_have_the_probabilities_of_labels(
    told: list[tuple[int, float]], expected: dict[str, float], tmp_path: Path
) -> None:
    p = routing(Telling(told), logprobs=True)
    async with p.run({"q": "?"}, record=tmp_path / "run.jsonl") as run:
        ended = [event async for event in run if isinstance(event, NodeFinished) and event.node == "way"]
        result = await run.wait()
    assert result.value["way"] == "right"
    assert result.probabilities == {"way": pytest.approx(expected)}
    assert ended[0].probabilities == pytest.approx(expected)
    [line] = [
        each
        for each in map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
        if each["kind"] == "node" and each["node"] == "way"
    ]
    assert line["probabilities"] == pytest.approx(expected)
    [traced] = read_runs([tmp_path / "run.jsonl"])
    assert traced.nodes["way"]["probabilities"] == pytest.approx(expected)
    again = await p.replay(tmp_path / "run.jsonl").execute()
    assert again.probabilities == result.probabilities


async def test_nothing_is_asked_for_and_told_unless_log_probabilities_are() -> None:
    engine = Telling([(RIGHT, -0.25)])
    result = await routing(engine).invoke({"q": "?"})
    assert engine.requests[0].options.valued_ids == ()
    assert (result.value, result.probabilities) == ({"way": "right"}, {})


class Drawing(ScriptedEngine):
    """An engine that draws one of the ids that it is told, or writes one of the labels."""

    def __init__(self, *forms: str) -> None:
        super().__init__(lambda _: Say(" yes"))
        self.enforced_forms = frozenset(forms)


@pytest.mark.parametrize(
    ("engine", "labels", "default"),
    [
        pytest.param(Drawing("ids"), (" yes", "no"), None, id="found by its id"),
        pytest.param(Drawing(), (" yes", "no"), None, id="nothing enforced"),
        pytest.param(Drawing("ids"), (" yes", "no"), "no", id="a default"),
        pytest.param(Drawing("ids", "choice"), (" yes", " yet"), None, id="two begin alike"),
    ],
)
async def test_a_label_may_begin_with_white_space_where_its_first_id_decides(
    engine: Any, labels: Sequence[str], default: str | None
) -> None:
    p = Pipeline("route").input("q").sink("out", text=False)
    targets = {label: label.strip() for label in labels}
    p.router("way", engine=engine, map="demo/bytes", prompt="{q}", labels=targets, default=default)
    for name in targets.values():
        p.function(name, lambda value: value, map="demo/bytes")
        p.connect("q", f"{name}.value").connect(name, "out")
    p.connect("q", "way.q")
    if engine.enforced_forms == {"ids"} and default is None:
        assert (await p.invoke({"q": "?"})).value == {"way": " yes"}
    else:
        with pytest.raises(PipelineError, match=r"nodes\.way: the label ' yes' is never found.*write 'yes'"):
            p.build()


# --- each engine's words ---

OPTIONS = SamplingOptions(max_tokens=1, logprobs=0, structured={"ids": [LEFT, RIGHT]})


def body_of(engine: Any) -> dict[str, Any]:
    request = GenerationRequest(prompt_ids=[65], vocabulary=BYTES, options=OPTIONS)
    outgoing: Outgoing = engine._outgoing(request)
    body: dict[str, Any] = json.loads(
        outgoing.body if isinstance(outgoing.body, bytes) else b"".join(outgoing.body)
    )
    return body


def test_each_engine_is_asked_for_the_labels_in_its_own_words() -> None:
    url = "http://127.0.0.1:1"
    params = body_of(VllmEngine(url, api="generate"))["sampling_params"]
    assert (params["logprobs"], params["logprob_token_ids"]) == (2, [LEFT, RIGHT])
    assert params["allowed_token_ids"] == [LEFT, RIGHT]
    assert body_of(VllmEngine(url, api="completions"))["logprobs"] == 0, "its completions have no such field"
    assert body_of(SglangEngine(url, api="generate"))["token_ids_logprob"] == [LEFT, RIGHT]
    assert body_of(LlamaCppEngine(url))["n_probs"] == 100


def test_each_engine_s_answer_has_the_labels_however_improbable() -> None:
    expected = ((LEFT, -1.0), (RIGHT, -9.0))
    ranked = [
        {"token_id": RIGHT, "logprob": -9.0, "rank": 700},
        {"token_id": LEFT, "logprob": -1.0, "rank": 1},
    ]
    found = msgspec.convert(
        {"content": [{"token_id": RIGHT, "logprob": -9.0, "rank": 700, "top_logprobs": ranked}]},
        ChoiceLogprobs,
    )
    assert values_of_ids(found, [RIGHT], 0, [LEFT, RIGHT]) == SampledValues((-9.0,), (expected,))
    top = [{"id": each, "logprob": value} for each, value in ((7, -0.1), (LEFT, -1.0), (RIGHT, -9.0))]
    answer = {
        "tokens": [RIGHT],
        "completion_probabilities": [{"id": RIGHT, "logprob": -9.0, "top_logprobs": top}],
    }
    assert values_of("E", msgspec.convert(answer, Completion), [RIGHT], OPTIONS).top == (expected,)
    events = GenerateEvents("E", StreamStats(), top=0, valued=[LEFT, RIGHT])
    meta = {
        "completion_tokens": 1,
        "output_token_logprobs": [[-9.0, RIGHT, None]],
        "output_token_ids_logprobs": [[[-1.0, LEFT, None], [-9.0, RIGHT, None]]],
    }
    event = {"output_ids": [RIGHT], "meta_info": meta}
    frames = [frame for frame in events.feed(b"data: " + json.dumps(event).encode() + b"\n\n") if frame.ids]
    assert frames[0].values is not None
    assert frames[0].values.top == (expected,)
