"""Durable runs on PostgreSQL: the same as on SQLite, by a URL, before any worker has made its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec_agents.exceptions import DurableError

pytest.importorskip("dbos", reason="needs DBOS, in an environment of its own: make test-dbos")
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

from codec_agents.scale.durable_client import DurableRuns  # noqa: E402
from tests.agents.scale.durable_worker import make  # noqa: E402
from tests.agents.scale.postgres import postgres  # noqa: E402

ROOT = Path(__file__).parents[3]
NAMES = [f"r{number}" for number in range(6)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres() as found:
        yield found


def worker(folder: Path, url: str, events: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.agents.scale.durable_worker", str(folder), str(events), *NAMES],
        env={**os.environ, "PYTHONPATH": str(ROOT), "EFFECTS": str(folder / "effects"), "DATABASE": url},
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def ended(process: subprocess.Popen[str]) -> int:
    printed, _ = process.communicate()
    assert process.returncode == 0
    return int(printed)


def test_workers_that_are_killed_share_a_queue_in_postgresql(url: str, tmp_path: Path) -> None:
    with DurableRuns(tmp_path, database=url) as runs:
        for name in NAMES:
            runs.start(make(), {"question": "go"}, run_id=name)
        assert not (tmp_path / "dbos.sqlite").exists()
        dying, other = worker(tmp_path, url, 20), worker(tmp_path, url, 0)
        assert ended(dying) >= 1
        ended(other)
        assert [each.run_id for each in runs.runs("waiting")] == NAMES
        for name in NAMES:
            runs.answer(name, {call["key"]: True for call in runs.status(name).calls})
        ended(worker(tmp_path, url, 0))
        assert {each.text["reader"] for each in runs.runs("done")} == {"so: paid 3"}
        assert len(runs.runs("done")) == len(NAMES)
    done = Counter((tmp_path / "effects").read_text().split())
    assert set(done) == {f"{name}/m/{turn}/0" for name in NAMES for turn in (1, 2)}


def test_a_database_that_cannot_be_reached_is_an_error_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(DurableError, match=r"127\.0\.0\.1:1/runs: .* refused") as error:
        DurableRuns(tmp_path, database="postgresql://me:secret@127.0.0.1:1/runs")
    assert "secret" not in str(error.value)
