"""Trajectories and their forms: what was sampled is trained on once, in the context it was sampled in."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import PipelineError, RecordError, RunError
from codec_agents.records.appending import annotate
from codec_agents.records.exporters import (
    EXPORTERS,
    PLAIN,
    jsonl,
    skyrl,
    slime,
    trl,
    verifiers,
    verl,
    writer_of,
)
from codec_agents.records.exporters.checking import UnfitRowError
from codec_agents.records.logprobs import mode_fault
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun, RecordedTurn
from codec_agents.records.trajectories import trajectories_of
from codec_agents.testing import ScriptedEngine, ScriptedModel
from codec_core.frames import SampledValues, WeightVersion
from tests.agents.recorded_runs import look, model, planner


def turn(node: str, number: int, prompt: list[int], generated: list[int], **fields: Any) -> RecordedTurn:
    values = SampledValues(
        tuple(-float(token) for token in generated),
        weight_versions=(WeightVersion(f"step-{number}", 0, len(generated)),),
    )
    return RecordedTurn(
        node,
        number,
        prompt,
        0,
        generated=generated,
        batches=[generated],
        values=[values],
        finish_reason="stop",
        complete=True,
        **fields,
    )


NEUTRAL = {"temperature": 1.0, "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1}
"""What has to be sent so that raw log probabilities are those of the draw."""


def recorded(*turns: RecordedTurn, rewards: dict[str, float] | None = None, **sampling: Any) -> RecordedRun:
    nodes = {
        each.node: {
            "model": "m",
            "map": "x/y",
            "logprob_mode": "raw",
            "sampling": {**NEUTRAL, **sampling},
        }
        for each in turns
    }
    notes = [{"kind": "annotation", "fields": {"reward": rewards}}] if rewards else []
    return RecordedRun({"run_id": "r", "nodes": nodes, "maps": {"x/y": "sha256:1"}}, list(turns), notes)


TWO_TURNS = (turn("a", 1, [1, 2], [3, 4]), turn("a", 2, [1, 2, 3, 4, 9, 9], [5]))
"""A second prompt that extends the first turn, by the result of a call for one."""


def test_a_prompt_that_extends_the_turn_before_continues_its_row() -> None:
    (row,) = trajectories_of(recorded(*TWO_TURNS))
    assert (row.prompt, row.response, row.mask) == ([1, 2], [3, 4, 9, 9, 5], [1, 1, 0, 0, 1])
    assert row.response_logprobs == [-3.0, -4.0, 0.0, 0.0, -5.0]
    assert row.weight_versions == [WeightVersion("step-1", 2, 4), WeightVersion("step-2", 6, 7)]
    assert list(row.turns()) == [([1, 2], [3, 4], [-3.0, -4.0]), ([1, 2, 3, 4, 9, 9], [5], [-5.0])]


def test_a_prompt_that_does_not_begins_a_row_of_its_own() -> None:
    """Reasoning was dropped: the second turn never saw the id 3."""
    first, second = trajectories_of(recorded(TWO_TURNS[0], turn("a", 2, [1, 2, 4, 9], [5])))
    assert (first.part, first.ids, first.mask) == (0, [1, 2, 3, 4], [1, 1])
    assert (second.part, second.prompt, second.response, second.mask) == (1, [1, 2, 4, 9], [5], [1])


def test_a_row_a_model_node_and_credit_by_node() -> None:
    turns = (*TWO_TURNS, turn("b", 1, [7], [8]))
    rows = trajectories_of(recorded(*turns, rewards={"": 0.5, "b": 1.0}))
    assert [(row.node, row.reward) for row in rows] == [("a", 0.5), ("b", 1.0)]
    assert [row.node for row in trajectories_of(recorded(*turns), ["b"])] == ["b"]


# --- forms ---


def test_the_lines_are_looked_through_as_often_for_many_items_as_for_one() -> None:
    looks: list[int] = []

    class Counted(RecordedRun):
        @property
        def annotations(self) -> list[dict[str, Any]]:
            looks[-1] += 1
            return []

        @property
        def nodes(self) -> list[str]:
            looks[-1] += 1
            return []

        def of_node(self, node: str) -> list[RecordedTurn]:
            looks[-1] += 1
            return []

    for count in (1, 50):
        looks.append(0)
        turns = [turn(f"each[{item}]/m", 1, [1], [2]) for item in range(count)]
        assert [row.node for row in trajectories_of(Counted({}, turns))] == [each.node for each in turns]
    assert looks[0] == looks[1]


def test_the_forms_of_trainers() -> None:
    rows = trajectories_of(recorded(*TWO_TURNS, rewards={"": 0.5}))
    fields = verl.fields(rows[0])
    assert (fields["prompt_ids"], fields["response_ids"]) == ([1, 2], [3, 4, 9, 9, 5])
    assert (fields["response_mask"], fields["reward_score"], fields["num_turns"]) == ([1, 1, 0, 0, 1], 0.5, 4)
    rollout = trl.rollout(rows)
    assert rollout["completion_ids"] == [[3, 4, 9, 9, 5]]
    assert rollout["logprobs"] == [[-3.0, -4.0, 0.0, 0.0, -5.0]]
    assert rollout["env_mask"] == [[1, 1, 0, 0, 1]]
    assert verifiers.turns(rows[0])[1] == {
        "prompt_ids": [1, 2, 3, 4, 9, 9],
        "completion_ids": [5],
        "completion_logprobs": [-5.0],
    }
    batch = skyrl.generator_output(rows)
    assert {len(value) for value in batch.values() if value is not None} == {1}
    assert (batch["loss_masks"], batch["stop_reasons"]) == ([[1, 1, 0, 0, 1]], ["stop"])
    sample = slime.sample(rows[0], 0)
    assert (sample["tokens"], sample["response_length"]) == ([1, 2, 3, 4, 9, 9, 5], 5)
    assert (len(sample["loss_mask"]), sample["status"]) == (5, "completed")
    rows[0].finish_reasons[-1] = "length"
    assert slime.sample(rows[0], 0)["status"] == "truncated"
    rows[0].complete = False
    assert slime.sample(rows[0], 0)["status"] == "aborted"


@pytest.mark.parametrize("form", sorted(EXPORTERS))
def test_every_form_is_written(tmp_path: Path, form: str) -> None:
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed: the extra parquet; make test-trainers has it")
    rows = trajectories_of(recorded(*TWO_TURNS, turn("b", 1, [7], [8]), rewards={"": 0.5}))
    writer_of(form)(rows, tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    if form == "parquet":
        from pyarrow import parquet

        read = parquet.read_table(tmp_path / "out").to_pylist()
        assert [row["ids"] for row in read] == [row.ids for row in rows]
        assert read[0]["weight_versions"][0] == {"version": "step-1", "start": 2, "end": 4}
        assert json.loads(read[0]["sampling"]) == NEUTRAL
    else:
        assert all(json.loads(line) for line in content.splitlines())


# --- what a trainer cannot take ---


@pytest.mark.parametrize(
    ("mode", "sampling", "said"),
    [
        ("raw", NEUTRAL, None),
        ("raw", {**NEUTRAL, "top_k": 0, "presence_penalty": 0.0, "min_tokens": 0, "seed": 3}, None),
        ("raw", {**NEUTRAL, "temperature": 0.7}, "temperature is 0.7"),
        ("raw", {}, "the engine's own"),
        ("raw", {**NEUTRAL, "top_p": 0.9}, "leave out top_p 0.9"),
        ("raw", {**NEUTRAL, "min_tokens": 4}, "leave out min_tokens 4"),
        ("raw", {**NEUTRAL, "structured": {"regex": "a+"}}, "leave out `sampling.structured`"),
        ("raw", {**NEUTRAL, "extra": ["body.logit_bias"]}, "leave out `sampling.extra`"),
        (
            "raw",
            {"temperature": 1, "top_k": -1},
            "leave out top_p, min_p, repetition_penalty, and the engine",
        ),
        ("temperature", {**NEUTRAL, "temperature": 0.7}, None),
        ("temperature", {"temperature": 0.7}, "leave out top_p, top_k, min_p, repetition_penalty"),
        ("temperature", {**NEUTRAL, "top_k": 20}, "leave out top_k 20"),
        ("temperature", {"repetition_penalty": 1.1}, "leave out repetition_penalty"),
        ("processed", {"temperature": 0.7, "top_p": 0.9, "structured": {"regex": "a+"}}, None),
        (None, NEUTRAL, "not known"),
    ],
)
def test_modes_of_log_probabilities(mode: str | None, sampling: dict[str, Any], said: str | None) -> None:
    fault = mode_fault(mode, sampling)
    assert fault is None if said is None else fault is not None and said in fault.what


def test_the_remedy_names_the_options_that_were_not_sent() -> None:
    fault = mode_fault("raw", {"temperature": 1, "top_k": -1})
    assert fault is not None
    assert "`sampling: {top_p: 1, min_p: 0, repetition_penalty: 1}`" in fault.remedy


EXPORTS: dict[str, Any] = {
    "verl": verl.fields,
    "verifiers": verifiers.turns,
    "trl": lambda row, **more: trl.rollout([row], **more),
    "skyrl": lambda row, **more: skyrl.generator_output([row], **more),
    "slime": lambda row, **more: slime.sample(row, 0, **more),
}


@pytest.mark.parametrize("form", sorted(EXPORTS))
def test_exporters_refuse_a_mode_that_their_trainer_does_not_take(form: str, tmp_path: Path) -> None:
    assert {*EXPORTS, *PLAIN} == set(EXPORTERS)
    rows = trajectories_of(recorded(*TWO_TURNS, rewards={"": 1.0}, top_p=0.9))
    with pytest.raises(UnfitRowError, match="leave out top_p"):
        EXPORTS[form](rows[0])
    with pytest.raises(UnfitRowError, match="leave out top_p"):
        writer_of(form)(rows, tmp_path / "rows")
    assert EXPORTS[form](rows[0], any_mode=True)
    writer_of(form, any_mode=True)(rows, tmp_path / "rows")
    assert json.loads((tmp_path / "rows").read_text())


def test_a_turn_that_was_drawn_otherwise_begins_a_row() -> None:
    forced = {**NEUTRAL, "structured": {"regex": "a+"}}
    for sampling, rows in ((NEUTRAL, 1), (forced, 2), ({**NEUTRAL, "extra": ["body.logit_bias"]}, 2)):
        turns = (replace(TWO_TURNS[0], sampling=NEUTRAL), replace(TWO_TURNS[1], sampling=sampling))
        assert len(trajectories_of(recorded(*turns))) == rows


def test_exporters_refuse_ids_without_log_probabilities_and_rows_without_a_reward() -> None:
    (row,) = trajectories_of(recorded(TWO_TURNS[0], replace(TWO_TURNS[1], values=[None])))
    with pytest.raises(UnfitRowError, match="not every sampled id"):
        verl.fields(row)
    with pytest.raises(UnfitRowError, match="no reward"):
        skyrl.generator_output([row])
    row.logprobs = None
    assert verl.fields(row)["response_logprobs"] is None
    with pytest.raises(UnfitRowError, match=r"sampling\.logprobs"):
        trl.rollout([row])


def test_ids_without_log_probabilities_get_none_from_the_turns_behind_them() -> None:
    third = turn("a", 3, [1, 2, 3, 4, 9, 9, 5, 9], [6])
    for lacks, known in ((0, None), (1, [0.0, 0.0, -3.0, -4.0])):
        run = recorded(turn("a", 1, [1, 2], [3, 4]), turn("a", 2, [1, 2, 3, 4, 9, 9], [5]), third)
        run.turns[lacks].values = [None]
        (row,) = trajectories_of(run)
        assert row.logprobs == known
        with pytest.raises(UnfitRowError, match="not every sampled id"):
            trl.rollout([row])
    (row,) = trajectories_of(recorded(*TWO_TURNS, replace(third, generated=[], values=[None])))
    assert row.response_logprobs == [-3.0, -4.0, 0.0, 0.0, -5.0, 0.0], "a turn without ids lacks none"


# --- rewards of runs ---


def desk() -> Pipeline:
    engine = ScriptedEngine(ScriptedModel(script=planner, logprob=lambda token: -token / 7))
    p = Pipeline("one").input("q").sink("reader")
    model(p, "model", engine, tools=[look], sampling={"logprobs": True})
    return p.connect("q", "model").connect("model", "reader")


@pytest.mark.anyio
async def test_rewards_are_written_while_a_run_goes_and_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with desk().run({"q": "go"}, record=path) as run:
        run.reward(None, 0.25, judge="first")
        with pytest.raises(RecordError, match="NaN or an infinity"):
            run.reward(None, math.nan)
        await run.wait()
        run.reward("model", 0.5)
        for fault in (lambda: run.reward(None, math.nan), lambda: run.reward(None, 1.0, at=math.inf)):
            with pytest.raises(RecordError, match="NaN or an infinity"):
                fault()
    run.reward("model", 0.75, judge="second")
    annotate(path, {"grade": "good"})
    record = read_record(path)
    assert record.rewards == {"": 0.25, "model": 0.75}
    assert record.metadata == {"judge": "second", "grade": "good"}
    (row,) = trajectories_of(record)
    assert (row.reward, row.logprob_mode, row.tool_calls) == (0.75, "processed", 2)
    assert verl.fields(row)["response_logprobs"] is not None
    assert jsonl.document(row) == next(record.trajectories())
    assert await desk().replay(record).execute()


@pytest.mark.anyio
async def test_a_reward_has_a_record_and_a_node(tmp_path: Path) -> None:
    async with desk().run({"q": "go"}) as run:
        with pytest.raises(RunError, match="has none; give `record=`"):
            run.reward("model", 1.0)
    async with desk().run({"q": "go"}, record=tmp_path / "run.jsonl") as run:
        with pytest.raises(RunError, match="no model node 'writer'; it has model"):
            run.reward("writer", 1.0)


@pytest.mark.anyio
@pytest.mark.parametrize("grade", [lambda _: 1 / 0, lambda _: "good", lambda _: {"model": []}])
async def test_a_reward_function_that_fails_is_named(tmp_path: Path, grade: Any) -> None:
    p = Pipeline("one", reward=grade).input("q").sink("reader")
    p = model(p, "model", ScriptedEngine(lambda _: "well")).connect("q", "model").connect("model", "reader")
    with pytest.raises(
        RunError, match=r"the reward function of 'one' failed: (ZeroDivision|Value|Type)Error"
    ):
        await p.invoke({"q": "go"}, record=tmp_path / "run.jsonl")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("grade", "rewards"),
    [(lambda _: 0.5, {"": 0.5}), (lambda _: {"model": 1}, {"model": 1.0}), (lambda _: None, {})],
)
async def test_a_pipelines_reward_function_grades_recorded_runs(
    tmp_path: Path, grade: Any, rewards: dict[str, float]
) -> None:
    seen: list[str] = []

    def reward(result: Any) -> Any:
        seen.append(result.text["reader"])
        return grade(result)

    engine = ScriptedEngine(lambda _: "well")
    p = Pipeline("one", reward=reward).input("q").sink("reader")
    p = model(p, "model", engine).connect("q", "model").connect("model", "reader")
    await p.invoke({"q": "go"}, record=tmp_path / "run.jsonl")
    assert read_record(tmp_path / "run.jsonl").rewards == rewards
    await p.invoke({"q": "go"})
    assert seen == ["well"]


def test_a_reward_function_of_a_file_is_found_or_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "grading.py").write_text("def grade(result):\n    return 1.0\n")
    text = (
        "pipeline: one\nreward: grading:grade\nengines: {e: {kind: scripted, script: well}}\n"
        "nodes:\n  q: {kind: input}\n  m: {map: demo/bytes, prompt: '{x}'}\n  out: {kind: sink}\n"
        "edges: [q -> m, m -> out]\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    p = Pipeline.from_yaml(tmp_path / "p.yaml")
    p.invoke_sync({"q": "go"}, record=tmp_path / "run.jsonl")
    assert read_record(tmp_path / "run.jsonl").rewards == {"": 1.0}
    assert "reward: grading:grade" in p.to_yaml()
    (tmp_path / "p.yaml").write_text(text.replace("grading:grade", "grading:missing"))
    with pytest.raises(PipelineError, match="missing"):
        Pipeline.from_yaml(tmp_path / "p.yaml").build()
