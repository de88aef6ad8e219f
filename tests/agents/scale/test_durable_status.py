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


def test_the_last_page_has_no_next_one(tmp_path: Path) -> None:
    rows = [
        SimpleNamespace(workflow_id=name, status="PENDING", input={"args": [name, "desk", {}, None, None]})
        for name in "abcd"
    ]

    def list_workflows(*, offset: int = 0, workflow_id_prefix: object = None, **_: object) -> list[object]:
        return [] if workflow_id_prefix else list(rows[offset:])

    runs = object.__new__(DurableRuns)  # without a database
    runs._state, runs._rows_at_once = tmp_path, 1000
    runs._client = SimpleNamespace(list_workflows=list_workflows)
    pages = {}
    for limit in (2, 3, 4, 5):
        start: int | None = 0
        pages[limit] = []
        while start is not None:
            found, start = runs.page(None, start, limit)
            pages[limit].append("".join(status.run_id for status in found))
    assert pages == {2: ["ab", "cd"], 3: ["abc", "d"], 4: ["abcd"], 5: ["abcd"]}
    assert runs.page("done", 0, 2) == ([], None)
