"""Durable runs on a real DBOS: killed at every step, answered from another process, shared by workers."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from codec_agents.exceptions import DurableError, InputError, PauseError
from codec_agents.records.files import is_being_written, open_locked
from codec_agents.records.positions import positions_of
from codec_agents.records.reader import read_record

pytest.importorskip("dbos", reason="needs DBOS, in an environment of its own: make test-dbos")
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

from codec_agents.scale.durable import DurableWorker, _recorded  # noqa: E402
from codec_agents.scale.durable_client import SQLITE, DurableRuns, DurableStatus, checked_id  # noqa: E402
from tests.agents.scale.durable_worker import make  # noqa: E402

ROOT = Path(__file__).parents[3]


def work(folder: Path, *run_ids: str, events: int = 0, **environment: str) -> int:
    """Work in processes that die after so many events; return how many there were."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.agents.scale.durable_worker", str(folder), str(events), *run_ids],
        env={**os.environ, "PYTHONPATH": str(ROOT), "EFFECTS": str(folder / "effects"), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


def effects(folder: Path) -> Counter[str]:
    return Counter((folder / "effects").read_text().split())


def status(folder: Path, run_id: str = "r") -> DurableStatus:
    with DurableRuns(folder) as runs:
        return runs.status(run_id)


def started(folder: Path, *run_ids: str) -> None:
    with DurableRuns(folder) as runs:
        for run_id in run_ids:
            assert runs.start(make(), {"question": "go"}, run_id=run_id) == run_id


def answered(folder: Path, run_id: str = "r", *, decision: bool | str = True) -> None:
    with DurableRuns(folder) as runs:
        runs.answer(run_id, {call["key"]: decision for call in runs.status(run_id).calls})


def test_a_run_is_killed_at_every_line_and_every_step(tmp_path: Path) -> None:
    """Every process gets one event further; each tool has its effect once."""
    started(tmp_path, "r")
    processes = work(tmp_path, "r", events=1)
    waits = status(tmp_path)
    assert (waits.state, [call["name"] for call in waits.calls]) == ("waiting", ["pay"])
    assert effects(tmp_path) == {"r/m/1/0": 1}
    answered(tmp_path)
    processes += work(tmp_path, "r", events=1)
    done = status(tmp_path)
    assert (done.state, done.text) == ("done", {"reader": "so: paid 3"})
    assert effects(tmp_path) == {"r/m/1/0": 1, "r/m/2/0": 1}
    record = read_record(done.record)
    assert record.complete
    assert [turn.number for turn in record.turns] == [1, 2, 3]
    assert sum(line["kind"] == "continued" for line in record.lines) >= 10
    assert processes > 15
    with DurableRuns(tmp_path) as runs:
        steps = [name for name in runs.steps("r") if not name.startswith("DBOS")]
    assert steps == [each.name for each in positions_of(done.record) if each.kind != "suspended"]


def test_a_tool_that_was_at_work_runs_again_with_the_same_key(tmp_path: Path) -> None:
    started(tmp_path, "r")
    assert work(tmp_path, "r", DIE_IN_TOOL="1") == 2
    assert effects(tmp_path) == {"r/m/1/0": 2}
    answered(tmp_path, decision="not today")
    work(tmp_path, "r")
    assert status(tmp_path).text == {"reader": "so: Error: not today"}
    assert effects(tmp_path) == {"r/m/1/0": 2}


def test_two_workers_share_a_queue(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(6)]
    started(tmp_path, *names)
    command = [sys.executable, "-m", "tests.agents.scale.durable_worker", str(tmp_path), "0", *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EFFECTS": str(tmp_path / "effects")}
    workers = [subprocess.Popen(command, env=environment, cwd=ROOT) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert effects(tmp_path) == {f"{name}/m/1/0": 1 for name in names}
    with DurableRuns(tmp_path) as runs:
        assert [each.run_id for each in runs.runs("waiting")] == names


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with DurableRuns(tmp_path) as runs:
        with pytest.raises(InputError):
            runs.start(make(), {})
        with pytest.raises(DurableError, match="cannot be the id"):
            runs.start(make(), {"question": "go"}, run_id="../x")
        with pytest.raises(DurableError, match="no durable run"):
            runs.status("none")
        runs.start(make(), {"question": "go"}, run_id="r")
        with pytest.raises(PauseError, match="it is queued"):
            runs.answer("r", {})
    work(tmp_path, "r")
    with DurableRuns(tmp_path) as runs:
        with pytest.raises(PauseError, match="a decision on each of: m/2/0"):
            runs.answer("r", {"m/9/0": True})
        runs.answer("r", {"m/2/0": False})
        with pytest.raises(PauseError, match="does not wait"):
            runs.answer("r", {"m/2/0": True})


def test_a_record_that_lost_lines_is_refused(tmp_path: Path) -> None:
    started(tmp_path, "r")
    work(tmp_path, "r")
    path = status(tmp_path).record
    lines = path.read_bytes().splitlines(keepends=True)
    answered(tmp_path)
    path.write_bytes(b"".join(lines[:6]))
    work(tmp_path, "r")
    found = status(tmp_path)
    assert found.state == "failed"
    assert "does not wait at the pause" in str(found.error)


def killed_after_the_tool(folder: Path) -> Path:
    """Kill a worker when the tool's result is recorded and noted, before the run waits; return the record."""
    started(folder, "r")
    with DurableRuns(folder) as runs:
        while "m: look in turn 1" not in runs.steps("r"):
            work(folder, "r", events=1, PROCESSES="1")
        assert runs.status("r").state == "running"
        return runs.status("r").record


def test_a_record_in_place_of_another_one_is_refused(tmp_path: Path) -> None:
    """Its lines are whole and fit each other, and the steps saw others."""
    record = killed_after_the_tool(tmp_path)
    other = tmp_path / "other"
    started(other, "r")
    work(other, "r")
    record.write_bytes(status(other).record.read_bytes())
    work(tmp_path, "r")
    found = status(tmp_path)
    assert found.state == "failed"
    assert "is not the one that its steps saw" in str(found.error)
    assert effects(tmp_path) == {"r/m/1/0": 1}


def test_a_record_that_lost_a_finished_call_is_refused_before_the_call_runs_again(tmp_path: Path) -> None:
    record = killed_after_the_tool(tmp_path)
    lines = record.read_bytes().splitlines(keepends=True)
    kept = next(number for number, line in enumerate(lines) if b'"kind":"tool"' in line)
    record.write_bytes(b"".join(lines[:kept]))
    work(tmp_path, "r")
    found = status(tmp_path)
    assert found.state == "failed"
    assert "is not the one that its steps saw" in str(found.error)
    assert effects(tmp_path) == {"r/m/1/0": 1}


@pytest.mark.parametrize("name", ["", ".", "a/b", "x" * 129, "ä b", "ä" * 65, "\ud800"])
def test_ids_are_names_of_files(name: str) -> None:
    with pytest.raises(DurableError):
        checked_id(name)


def test_a_run_of_the_same_id_has_the_same_inputs(tmp_path: Path) -> None:
    with DurableRuns(tmp_path) as runs:
        for _ in range(2):
            assert runs.start(make(), {"question": "go"}, run_id="r") == "r"
        with pytest.raises(InputError, match="is there with other inputs"):
            runs.start(make(), {"question": "stay"}, run_id="r")


def test_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    started(tmp_path, "r")
    assert (tmp_path / SQLITE).stat().st_mode & 0o077 == 0


def row(folder: Path, name: str, status: str, inputs: str, output: str = "null", *, later: int = 0) -> None:
    """Write the row of a workflow as others could, started so many milliseconds after the run `r`."""
    with closing(sqlite3.connect(folder / SQLITE)) as base, base:
        columns = [column[1] for column in base.execute("PRAGMA table_info(workflow_status)")]
        (values,) = base.execute("SELECT * FROM workflow_status WHERE workflow_uuid = 'r'")
        other = {**dict(zip(columns, values, strict=True)), "workflow_uuid": name, "status": status}
        other["created_at"] += later
        marks = ", ".join("?" * len(columns))
        base.execute(f"INSERT INTO workflow_status VALUES ({marks})", list(other.values()))
        base.execute("INSERT INTO workflow_input (workflow_uuid, inputs) VALUES (?, ?)", (name, inputs))
        base.execute("INSERT INTO workflow_output (workflow_uuid, output) VALUES (?, ?)", (name, output))


def given(*arguments: object) -> str:
    return json.dumps({"positionalArgs": arguments, "namedArgs": {}})


GOOD = given("x", "desk", {"question": "go"}, None, None)


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ("{nonsense", "null"),
        (given(), "null"),
        (given("x", 5, {}, None, None), "null"),
        (GOOD, "5"),
        (GOOD, "null"),
        (GOOD, "{}"),
        (GOOD, '{"waiting": 5}'),
        (GOOD, '{"waiting": {"pause": "p", "calls": [{}]}}'),
        (GOOD, '{"text": 5}'),
        (GOOD, '{"error": {}}'),
    ],
)
def test_a_damaged_row_is_a_failed_run_beside_the_others(tmp_path: Path, inputs: str, output: str) -> None:
    started(tmp_path, "r")
    row(tmp_path, "x", "SUCCESS", inputs, output)
    with DurableRuns(tmp_path) as runs:
        assert {each.run_id: each.state for each in runs.runs()} == {"r": "queued", "x": "failed"}
        assert "damaged" in str(runs.status("x").error)
        with pytest.raises(PauseError):
            runs.answer("x", {})


def test_rows_that_wait_for_each_other_without_end_are_damaged(tmp_path: Path) -> None:
    started(tmp_path, "r")
    for name in ("x", "x/p"):
        row(tmp_path, name, "SUCCESS", GOOD, '{"waiting": {"pause": "p", "calls": []}}')
    assert status(tmp_path, "x").state == "failed"


def test_the_second_of_two_answers_given_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(tmp_path, "r")
    call = {"key": "m/2/0", "node": "m", "name": "pay", "arguments": {}}
    row(tmp_path, "x", "SUCCESS", GOOD, json.dumps({"waiting": {"pause": "p", "calls": [call]}}))
    with DurableRuns(tmp_path) as runs:
        with pytest.raises(PauseError, match="give true, false or words"):
            runs.answer("x", {"m/2/0": 1})
        waiting = runs.status("x")
        monkeypatch.setattr(runs, "status", lambda _: waiting)
        runs.answer("x", {"m/2/0": True})
        runs.answer("x", {"m/2/0": True})
        with pytest.raises(PauseError, match="was answered otherwise"):
            runs.answer("x", {"m/2/0": False})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("run_id", "pipeline"), [("../x", "desk"), ("r", "none")], ids=["another file", "another pipeline"]
)
async def test_a_row_that_names_another_file_or_pipeline_is_refused(
    tmp_path: Path, run_id: str, pipeline: str
) -> None:
    worker = DurableWorker(tmp_path, {"desk": make()})
    with pytest.raises(DurableError):
        await worker._run(run_id, pipeline, {"question": "go"}, None, {})


def test_a_pause_that_the_record_does_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PauseError, match="never waited at the pause"):
        _recorded(tmp_path / "none.jsonl", "p")


@pytest.mark.anyio
async def test_a_worker_that_cannot_start_gives_its_lock_back(tmp_path: Path) -> None:
    worker = DurableWorker(tmp_path, {"desk": make()}, database="sqlite:////no/such/folder/dbos.sqlite")
    with pytest.raises(DurableError, match="cannot use DBOS's database"):
        async with worker:
            pass
    (lock,) = (tmp_path / "workers").iterdir()
    assert not is_being_written(lock)


@pytest.mark.anyio
async def test_a_dead_worker_is_taken_over_once(tmp_path: Path) -> None:
    """A second one would put runs back that a third one has already taken."""
    asked: list[str] = []

    class Library:
        @staticmethod
        async def list_workflows_async(*, executor_id: str, **_: object) -> list[object]:
            asked.append(executor_id)
            assert is_being_written(tmp_path / "workers" / "dead")
            return []

    worker = DurableWorker(tmp_path, {"desk": make()})
    worker._library = SimpleNamespace(DBOS=Library)
    (tmp_path / "workers").mkdir()
    held = open_locked(tmp_path / "workers" / "dead")
    await worker._take_over("dead")
    os.close(held)
    assert asked == []
    await worker._take_over("dead")
    assert asked == ["dead"]
    assert list((tmp_path / "workers").iterdir()) == []


@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_runs_are_listed_in_pages(tmp_path: Path, rows_at_once: int) -> None:
    """With the workflows of one run in different pages of rows, and rows of other runs between them."""
    waits, text = '{"waiting": {"pause": "p", "calls": []}}', '{"text": {"s": "so"}}'
    started(tmp_path, "r")
    each = ("a", waits), ("b", text), ("c", waits), ("a/p", text), ("d", waits)
    for number, (name, output) in enumerate(each, 1):
        row(tmp_path, name, "SUCCESS", GOOD, output, later=number)
    with DurableRuns(tmp_path, rows_at_once=rows_at_once) as runs:
        found = [(each.run_id, each.state) for each in runs.runs()]
        assert found == [("r", "queued"), ("a", "done"), ("b", "done"), ("c", "waiting"), ("d", "waiting")]
        assert [each.run_id for each in runs.runs("waiting")] == ["c", "d"]
        for state, names in ((None, [["r", "a"], ["b", "c"], ["d"]]), ("done", [["a", "b"]])):
            pages: list[list[str]] = []
            place: int | None = 0
            while place is not None:
                page, place = runs.page(state, place, 2)
                pages.append([each.run_id for each in page])
            assert pages == names


# --- over HTTP and on the command line ---


@pytest.mark.anyio
async def test_an_approval_is_answered_over_http(tmp_path: Path) -> None:
    import httpx

    from codec_agents.scale.durable_http import DurableApp
    from codec_agents.server import ServerSettings

    with DurableRuns(tmp_path) as runs:
        app = DurableApp(runs, {"desk": make()}, ServerSettings(api_keys=("k",)))
        transport = httpx.ASGITransport(app=app)
        headers = {"authorization": "Bearer k"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            body = {"pipeline": "desk", "inputs": {"question": "go"}, "run_id": "r"}
            assert (await client.post("/runs", json=body)).status_code == 201
            work(tmp_path, "r")
            waiting = (await client.get("/runs", params={"state": "waiting"})).json()["runs"]
            assert [call["key"] for call in waiting[0]["calls"]] == ["m/2/0"]
            page = (await client.get("/runs", params={"limit": 1})).json()
            assert ([run["run_id"] for run in page["runs"]], page["next"]) == (["r"], None)
            page = (await client.get("/runs", params={"start": 1})).json()
            assert page == {"runs": [], "next": None}
            assert (await client.get("/runs", params={"start": "-1"})).status_code == 400
            answer = {"pause": waiting[0]["pause"], "decisions": {"m/2/0": True}}
            other = await client.post("/runs/r/decisions", json={**answer, "pause": "x"})
            assert other.status_code == 409
            assert (await client.post("/runs/r/decisions", json=answer)).status_code == 202
            assert (await client.post("/runs/r/decisions", json=answer)).status_code == 409
            work(tmp_path, "r")
            assert (await client.get("/runs/r")).json()["text"] == {"reader": "so: paid 3"}
            for path, given, expected in (
                ("/runs", {"pipeline": "none"}, 404),
                ("/runs", {"pipeline": "desk"}, 422),
                ("/runs", {"pipeline": "desk", "input": {}}, 400),
                ("/runs", {"pipeline": "desk", "inputs": {"question": "go"}, "run_id": "../x"}, 400),
                ("/runs/none/decisions", {"decisions": {}}, 404),
            ):
                assert (await client.post(path, json=given)).status_code == expected
            assert (await client.get("/runs", params={"state": "odd"})).status_code == 400
            assert (await client.get("/other")).status_code == 404
            plain = {"content-type": "text/plain"}
            assert (await client.post("/runs", content=b"{}", headers=plain)).status_code == 415
            assert (await client.get("/runs", headers={"authorization": "Bearer x"})).status_code == 401
            assert (await client.get("/runs", headers={"host": "evil.example"})).status_code == 421


def test_the_commands_start_work_answer_and_show(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text(
        "pipeline: desk\nengines: {own: {kind: scripted, script: 'desk:cashier'}}\nnodes:\n"
        "  complaint: {kind: input}\n  reader: {kind: sink}\n"
        "  cashier: {engine: own, map: demo/bytes, prompt: '{complaint}', tools: ['desk:refund']}\n"
        "edges: [complaint -> cashier.complaint, cashier.answer -> reader]\n"
    )
    (tmp_path / "desk.py").write_text(
        "from codec_agents import tool\nfrom codec_agents.testing import Call, Say\n\n"
        "@tool(approval=True)\ndef refund(euro: int) -> str:\n    return f'paid {euro}'\n\n"
        "def cashier(prompt):\n    yield Call('refund', euro=5) if prompt.turn == 1 "
        "else Say(prompt.results[0])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    base = [sys.executable, "-m", "codec_agents.cli", "durable"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*base, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    name = run("start", "state", "desk.yaml", "-i", "complaint=late").strip()
    worker = subprocess.Popen([*base, "work", "state", "desk.yaml"], cwd=tmp_path, env=environment)
    try:
        until(lambda: "waiting" in run("list", "state"))
        assert "waits: cashier/1/0 refund {'euro': 5}" in run("show", "state", name)
        run("answer", "state", name, "-d", "yes")
        until(lambda: "done" in run("list", "state"))
    finally:
        worker.terminate()
    assert worker.wait() == 0
    assert "paid 5" in run("show", "state", name)


def until(condition: Callable[[], bool]) -> None:
    for _ in range(60):
        if condition():
            return
    raise AssertionError("it did not come to that")
