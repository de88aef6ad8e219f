"""Rollouts on an object of this process: what it answered is what the rows hold, aborts and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.bridges.rollouts import (
    ForkedRolloutError,
    MissingRolloutError,
    run_rollout,
    run_rollouts,
)
from codec_agents.bridges.trl import ModelClient, rollout_func
from codec_agents.engines.in_process import InProcessEngine
from codec_agents.engines.pool import EnginePool
from codec_agents.exceptions import InputError, NodeFailedError
from codec_agents.records.logprobs import NEUTRAL
from codec_agents.records.reader import read_record
from codec_core.frames import WeightVersion
from tests.agents.recorded_runs import mapped, model, scripted
from tests.trainers.clients import Output, ScriptedClient, desk, logprob

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


def engine(client: Any, **options: Any) -> InProcessEngine:
    return InProcessEngine(client, logprob_mode="processed", **options)


async def test_a_rollout_is_one_row_with_a_mask() -> None:
    client = ScriptedClient()
    given = {"temperature": 0.5, "top_p": 0.9}
    row = await run_rollout(
        desk(engine(client, sampling_params=given)),
        {"q": "go"},
        "solver",
        reward=lambda result: len(result.text),
    )
    first, second = client.asked
    assert row.prompt == first["prompt"]
    assert row.ids[: row.turn_starts[1]] == second["prompt"]
    assert 0 in row.mask
    assert row.response_logprobs == [
        logprob(token) if own else 0.0 for token, own in zip(row.response, row.mask, strict=True)
    ]
    assert (row.reward, row.logprob_mode, row.tool_calls) == (1.0, "processed", 1)
    assert [span.version for span in row.weight_versions] == ["1", "2"]
    assert (first["temperature"], first["top_p"], first["logprobs"], first["max_tokens"]) == (
        0.5,
        0.9,
        True,
        64,
    )
    assert first["id"] == second["id"]
    assert {name: row.sampling[name] for name in given} == given
    assert row.sampling["max_tokens"] == 64


async def test_parameters_of_every_request_are_those_of_the_row() -> None:
    """Exporters decide by them whether log probabilities are those of the draw."""
    given = {"top_p": 0.9, "temperature": 0.5, "logit_bias": {3: 1.0}, "max_tokens": 7, "logprobs": True}
    plain = desk(InProcessEngine(ScriptedClient(), sampling_params=given), temperature=1.0, logprobs=None)
    row = await run_rollout(plain, {"q": "go"}, "solver")
    sampling = {name: value for name, value in row.sampling.items() if name != "stop_token_ids"}
    assert sampling == {
        "top_p": 0.9, "temperature": 1.0, "max_tokens": 64, "extra": ["sampling_params.logit_bias"],
    }  # fmt: skip


@pytest.mark.parametrize(("other", "mode"), [({3: 1.0}, "raw"), ({3: 2.0}, None)])
async def test_a_pool_has_the_parameters_that_all_its_replicas_send(other: Any, mode: str | None) -> None:
    """Those of replicas that differ are not known of a row: neither is what its log probabilities are of."""
    replicas = [
        InProcessEngine(ScriptedClient(), name=name, sampling_params={"logit_bias": bias}, logprob_mode="raw")
        for name, bias in (("a", {3: 1.0}), ("b", other))
    ]
    row = await run_rollout(desk(EnginePool(replicas, name="E")), {"q": "go"}, "solver")
    assert row.logprob_mode == mode
    assert row.sampling.get("extra") == (["sampling_params.logit_bias"] if mode else None)


async def test_an_aborted_answer_is_continued_from_its_ids_and_the_record_says_so(tmp_path: Path) -> None:
    client = ScriptedClient(aborts=1)
    whole = await run_rollout(desk(engine(ScriptedClient())), {"q": "go"}, "solver")
    row = await run_rollout(desk(engine(client)), {"q": "go"}, "solver", folder=tmp_path)
    assert (row.ids, row.mask, row.logprobs) == (whole.ids, whole.mask, whole.logprobs)
    assert client.asked[1]["prompt"] == client.asked[0]["prompt"] + row.response[:2]
    begin = row.begin
    assert row.weight_versions[:2] == [
        WeightVersion("1", begin, begin + 2),
        WeightVersion("2", begin + 2, row.turn_ends[0]),
    ]
    record = read_record(tmp_path / f"{row.run_id}.jsonl")
    assert [line["kept"] for line in record.lines if line["kind"] == "retry"] == [2]


async def test_many_rollouts_come_in_the_order_of_their_inputs() -> None:
    client = ScriptedClient()
    rows = await run_rollouts(
        desk(engine(client)), [{"q": "x" * n} for n in range(1, 6)], "solver", concurrency=2
    )
    assert [len(row.prompt) for row in rows] == sorted(len(row.prompt) for row in rows)
    assert len({row.run_id for row in rows}) == 5


async def test_a_failure_ends_all_of_them() -> None:
    class Broken(ScriptedClient):
        async def generate(self, request_id: str, **given: Any) -> Output:
            raise ConnectionError("the trainer is gone")

    with pytest.raises(NodeFailedError, match="ConnectionError: the trainer is gone"):
        await run_rollouts(desk(engine(Broken())), [{"q": "a"}, {"q": "b"}], "solver")


async def test_answers_without_log_probabilities_fail() -> None:
    class Silent(ScriptedClient):
        async def generate(self, request_id: str, **given: Any) -> Output:
            answer = await super().generate(request_id, **given)
            answer.log_probs = None
            return answer

    with pytest.raises(NodeFailedError, match="without log probability"):
        await run_rollout(desk(engine(Silent())), {"q": "go"}, "solver")


async def test_no_alternatives() -> None:
    with pytest.raises(NodeFailedError, match="no alternatives"):
        await run_rollout(desk(engine(ScriptedClient()), logprobs=3), {"q": "go"}, "solver")


async def test_an_unknown_node_is_refused_before_anything_runs() -> None:
    client = ScriptedClient()
    with pytest.raises(InputError, match=r"no node 'writer' that asks a model; there are solver$"):
        await run_rollouts(desk(engine(client)), [{"q": "go"}], "writer")
    assert not client.asked


async def test_a_node_that_was_skipped_has_no_row() -> None:
    p = Pipeline("desk").input("q").sink("out")
    p.router(
        "way",
        engine=scripted(lambda _: "left"),
        map="demo/bytes",
        prompt="{text}",
        labels={"left": "left", "right": "right"},
        default="left",
    )
    p.connect("q", "way")
    for name in ("left", "right"):
        model(p, name, scripted(lambda _: "x"))
        p.connect("q", name).connect(name, "out")
    with pytest.raises(MissingRolloutError, match="'right' made no turn in this run"):
        await run_rollout(p, {"q": "go"}, "right")


async def test_trls_rollouts_run_where_a_loop_is_running() -> None:
    """A notebook's: the trainer calls the function from code of the loop."""
    client = ScriptedClient()
    roll_out = rollout_func(
        lambda _: desk(engine(client)), node="solver", inputs=lambda prompt: {"q": prompt}
    )
    rows = roll_out(["go", "on"], None)
    assert [len(ids) > 0 for ids in rows["completion_ids"]] == [True, True]


async def test_the_trainers_own_model_takes_parameters_at_which_they_do_nothing() -> None:
    """As a pipeline that runs on a server as well sends them; stop texts are refused after them."""
    for name, values in NEUTRAL.items():
        for value in values:
            params = {name: value, "stop": ["x"]}
            with pytest.raises(ValueError, match="stop texts are not applied"):
                await ModelClient(None).generate("r", prompt_ids=[1], sampling_params=params)
    with pytest.raises(ValueError, match="the parameter top_k is not applied"):
        await ModelClient(None).generate("r", prompt_ids=[1], sampling_params={"top_k": 5})


async def test_items_of_a_map_are_named_where_they_are_several_rows() -> None:
    with pytest.raises(ForkedRolloutError, match=r"are 2 rows: name one of them: each\[0\]/m, each\[1\]/m"):
        await run_rollout(mapped(), {"q": "a\nb"}, "each/m")
