"""The logger `codec_agents` carries warnings and retries, and prints nothing by itself."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.testing import Cut, Say, ScriptedEngine
from tests.agents.recorded_runs import model

UNUSED = """\
pipeline: warned
engines: {A: {kind: scripted, script: "hello"}, B: {kind: scripted, script: "unused"}}
nodes: {m: {engine: A, map: demo/bytes, prompt: "{q}"}}
edges: [q -> m, m -> out]
"""


def test_a_retry_is_logged_with_its_run_node_and_error(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    def script(_: Any) -> Any:
        tries.append(1)
        return [Say("one "), Cut()] if len(tries) == 1 else "two"

    p = Pipeline("retried").input("q").sink("out")
    model(p, "m", ScriptedEngine(script), policy={"retry": {"attempts": 2, "initial": 0}})
    with caplog.at_level(logging.WARNING, logger="codec_agents"):
        p.connect("q", "m").connect("m", "out").invoke_sync({"q": "go"}, run_id="the-run")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "run the-run, node m: turn 1 is asked again in" in record.getMessage()


def test_a_warning_of_a_declaration_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline.from_yaml(UNUSED)
    with caplog.at_level(logging.WARNING, logger="codec_agents"):
        warnings = pipeline.build().warnings
        pipeline.build()
    assert [record.getMessage() for record in caplog.records] == [
        f"pipeline warned: {fault}" for fault in warnings
    ]
    assert warnings


def test_a_program_that_configures_no_logging_prints_nothing() -> None:
    program = f"from codec_agents import Pipeline\nassert Pipeline.from_yaml({UNUSED!r}).build().warnings"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
