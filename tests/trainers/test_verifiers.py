"""Turns of a record as verifiers' own type (`make test-trainers NAME=verifiers`)."""

from __future__ import annotations

from typing import Any

import pytest

types = pytest.importorskip("verifiers.v1.types", reason="make test-trainers NAME=verifiers has verifiers")

from codec_agents.engines.in_process import InProcessEngine  # noqa: E402
from codec_agents.records.exporters.verifiers import turn_tokens  # noqa: E402
from codec_agents.records.reader import read_record  # noqa: E402
from codec_agents.records.trajectories import trajectories_of  # noqa: E402
from tests.trainers.clients import ScriptedClient, desk, logprob  # noqa: E402


def test_a_record_becomes_turns_of_verifiers(tmp_path: Any) -> None:
    client = ScriptedClient()
    engine = InProcessEngine(client, logprob_mode="processed")
    desk(engine).invoke_sync({"q": "go"}, record=tmp_path / "run.jsonl")
    [row] = trajectories_of(read_record(tmp_path / "run.jsonl"))
    turns = turn_tokens(row)
    assert all(isinstance(turn, types.TurnTokens) for turn in turns)
    assert [turn.prompt_ids for turn in turns] == [asked["prompt"] for asked in client.asked]
    for turn in turns:
        assert turn.completion_logprobs == [logprob(token) for token in turn.completion_ids]
