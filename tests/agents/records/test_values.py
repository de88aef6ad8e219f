"""Values of ids through a whole run: events, record, replay, recovery; nothing where none are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import SamplingOptions
from codec_agents.events import IdsSampled
from codec_agents.exceptions import NodeFailedError, RecordDamagedError
from codec_agents.records.header import sampling_fields
from codec_agents.records.reader import read_record
from codec_agents.testing import ScriptedEngine, ScriptedModel
from codec_core.frames import WeightVersion
from tests.agents.recorded_runs import look, model, planner, rewrite

pytestmark = pytest.mark.anyio


def logprob(token: int) -> float:
    return -token / 7


def engine(**settings: Any) -> ScriptedEngine:
    script = ScriptedModel(
        script=planner, ids_a_frame=(1, 7), logprob=logprob, weight_version="step-3", **settings
    )
    return ScriptedEngine(script, name="desk")


def desk(behind: Any, logprobs: Any = 1) -> Pipeline:
    p = Pipeline("one").input("q").sink("reader")
    model(p, "model", behind, tools=[look], sampling={"logprobs": logprobs, "seed": 7, "max_tokens": 500})
    return p.connect("q", "model").connect("model", "reader")


async def test_events_and_record_have_the_values_of_every_id(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with desk(engine()).run({"q": "go"}, record=path) as run:
        events = [event async for event in run]
    sampled = [event for event in events if isinstance(event, IdsSampled)]
    assert all(event.values is not None for event in sampled)
    record = read_record(path)
    for turn in record.turns:
        values = turn.all_values()
        assert values is not None
        assert list(values.logprobs) == [logprob(token) for token in turn.generated]
        assert list(values.top) == [((token, logprob(token)),) for token in turn.generated]
        assert values.weight_versions == (WeightVersion("step-3", 0, len(turn.generated)),)
    assert len(record.turns) == 3
    sampling = record.details("model")["sampling"]
    assert (sampling["max_tokens"], sampling["seed"], sampling["logprobs"]) == (500, 7, 1)


def test_the_record_names_fields_of_the_engines_own_and_not_their_values() -> None:
    extra = {"body": {"logit_bias": {"1": 2}}, "headers": {"X-Key": "secret"}, "top_p": 0.5}
    fields = sampling_fields(SamplingOptions(temperature=1.0, max_tokens=5, extra=extra))
    assert fields == {"temperature": 1.0, "max_tokens": 5, "extra": ["body.logit_bias", "top_p"]}
    assert "extra" not in sampling_fields(SamplingOptions(extra={"headers": {"X-Key": "secret"}}))


@pytest.mark.parametrize("logprobs", [None, False])
async def test_a_run_that_asks_for_nothing_has_the_record_that_it_had(tmp_path: Path, logprobs: Any) -> None:
    path = tmp_path / "run.jsonl"
    await desk(engine(), logprobs).invoke({"q": "go"}, record=path)
    assert all("values" not in json.loads(line) for line in path.read_text().splitlines())
    assert all(turn.all_values() is None for turn in read_record(path).turns)


async def test_a_replay_gives_the_recorded_values_and_so_does_a_recovery(tmp_path: Path) -> None:
    first, again, recovered = (tmp_path / name for name in ("run.jsonl", "again.jsonl", "recovered.jsonl"))
    await desk(engine()).invoke({"q": "go"}, record=first)
    await desk(engine()).replay(read_record(first), record=again).execute()
    # Cut within the second turn.
    lines = first.read_text().splitlines(keepends=True)
    cut = next(i for i, line in enumerate(lines) if '"turn":2' in line and '"kind":"ids"' in line) + 2
    first.write_text("".join(lines[:cut]))
    await desk(engine()).recover(read_record(first), record=recovered).execute()
    for path in (again, recovered):
        for turn in read_record(path).turns:
            values = turn.all_values()
            assert values is not None
            assert list(values.logprobs) == [logprob(token) for token in turn.generated]
            assert values.weight_versions[-1].end == len(turn.generated)


async def test_an_engine_without_values_fails_the_node() -> None:
    class SilentModel(ScriptedModel):
        def frames(self, turn: Any, reading: Any = None, options: Any = None) -> Any:
            return super().frames(turn, reading)

    silent = ScriptedEngine(SilentModel(script=planner))
    with pytest.raises(NodeFailedError, match="was asked for logprobs"):
        await desk(silent, True).invoke({"q": "go"})


async def test_a_record_whose_values_do_not_fit_its_ids_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk(engine(), True).invoke({"q": "go"}, record=path)
    rewrite(path, lambda text: text.replace('"logprobs":[', '"logprobs":[-1.0,', 1))
    with pytest.raises(RecordDamagedError, match="logprobs for") as damaged:
        read_record(path)
    record = damaged.value.record
    assert record is not None
    assert [len(list(turn.frames())) for turn in record.turns] == [0], "nothing of the bad line is in it"


@pytest.mark.parametrize("lines_of_the_end", [0, 1], ids=["before", "behind"])
async def test_a_run_that_goes_on_at_the_end_of_a_turn_has_the_values_of_its_whole_once(
    tmp_path: Path, lines_of_the_end: int
) -> None:
    path = tmp_path / "run.jsonl"
    await desk(engine()).run_or_recover(path, {"q": "go"}).execute()
    lines = path.read_text().splitlines(keepends=True)
    end = next(i for i, line in enumerate(lines) if '"kind":"turn"' in line)
    assert '"ids":[]' in lines[end - 1]
    path.write_text("".join(lines[: end + lines_of_the_end]))
    await desk(engine()).run_or_recover(path, {"q": "go"}).execute()
    assert path.read_text().count('"ids":[]') == "".join(lines).count('"ids":[]')
    for turn in read_record(path).turns:
        values = turn.all_values()
        assert values is not None
        assert values.weight_versions == (WeightVersion("step-3", 0, len(turn.generated)),)
