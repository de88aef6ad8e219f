"""Where a durable run stands, by rows of DBOS's database that only DBOS writes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from codec_agents.scale.durable_client import DurableRuns


@pytest.mark.parametrize("status", ["CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"])
def test_a_run_that_dbos_ended_says_so(status: str, tmp_path: Path) -> None:
    runs = object.__new__(DurableRuns)  # without a database
    runs._state = tmp_path
    row = SimpleNamespace(
        workflow_id="r", status=status, input={"args": ["r", "desk", {}, None, None]}, output=None, error=None
    )
    found = runs._status("r", {"r": row})
    assert (found.state, found.pipeline) == ("failed", "desk")
    assert found.error is not None
    assert status in found.error["message"]
