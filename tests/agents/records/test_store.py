"""A folder of records can be asked; its index is made from the files alone."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from codec_agents import Pipeline
from codec_agents.cli import main
from codec_agents.exceptions import ApprovalRequiredError, NodeFailedError, RecordError, StoreError
from codec_agents.records.continuing import ContinuedRecorder
from codec_agents.records.store import INDEX, RunFilter, RunStore
from codec_agents.server.gateway.sqlite_store import SqliteStore
from codec_agents.testing import Call, PromptView, Refuse, Say
from codec_agents.tools import tool
from tests.agents.recorded_runs import desk, mapped, model, scripted

pytestmark = pytest.mark.anyio


@tool(approval=True)
def pay() -> str:
    """Pay."""
    return "paid"


def single(script: Any) -> Pipeline:
    p = Pipeline("single").input("q").sink("reader")
    model(p, "m", scripted(script), tools=[pay])
    return p.connect("q", "m").connect("m", "reader")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Record a run of each state."""
    await desk().invoke({"q": "go"}, record=tmp_path / "done.jsonl", run_id="aaa-1")
    (tmp_path / "sub").mkdir()

    def fail(prompt: PromptView) -> Any:
        yield Say("half ")
        yield Refuse(400)

    with pytest.raises(NodeFailedError):
        await single(fail).invoke({"q": "Ärger"}, record=tmp_path / "sub" / "failed.jsonl", run_id="aab-2")
    with pytest.raises(ApprovalRequiredError):
        await single(lambda _: Call("pay")).invoke({"q": "x"}, record=tmp_path / "waits.jsonl", run_id="b-3")
    lines = (tmp_path / "done.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:5]))
    (tmp_path / "damaged.jsonl").write_bytes(b"".join(lines[:5]) + lines[7])
    (tmp_path / "results.jsonl").write_text('{"key": 1}\n')
    return tmp_path


def paths(folder: Path, **wanted: Any) -> set[str]:
    with RunStore(folder) as store:
        store.refresh()
        return {run.path for run in store.runs(RunFilter(**wanted))}


async def test_runs_are_found_by_what_they_did(folder: Path) -> None:
    with RunStore(folder) as store:
        assert store.refresh() == 6
        states = {run.path: run.state for run in store.runs()}
    assert states == {
        "done.jsonl": "done",
        "sub/failed.jsonl": "failed",
        "waits.jsonl": "waiting",
        "cut.jsonl": "cut",
        "damaged.jsonl": "damaged",
    }
    assert paths(folder, pipeline="single") == {"sub/failed.jsonl", "waits.jsonl"}
    assert paths(folder, node="writer") == {"done.jsonl"}
    assert paths(folder, failure="nodefailederror") == {"sub/failed.jsonl"}
    assert paths(folder, tool="look") == {"done.jsonl"}
    assert paths(folder, tool="look", tool_status="tool_error") == set()
    assert paths(folder, text="SEEN 4") == {"done.jsonl"}
    assert paths(folder, slower_than=1e6) == set()
    assert paths(folder, state="done", pipeline="single") == set()
    with pytest.raises(ValueError, match="there is no state"):
        paths(folder, state="odd")


async def test_nodes_are_found_by_their_declared_paths_and_only_where_they_ran(tmp_path: Path) -> None:
    await mapped().invoke({"q": "a\nb"}, record=tmp_path / "mapped.jsonl")
    p = Pipeline("ways").input("q").sink("reader")
    labels = {"left": "left", "right": "right"}
    p.router("way", engine=scripted(lambda _: "left"), map="demo/bytes", prompt="{text}", labels=labels)
    p.connect("q", "way")
    for name in labels:
        model(p, name, scripted(lambda _: "x"))
        p.connect("q", name).connect(name, "reader")
    await p.invoke({"q": "go"}, record=tmp_path / "ways.jsonl")
    for node in ("each", "each/m", "each[1]/m", "again/m"):
        assert paths(tmp_path, node=node) == {"mapped.jsonl"}, node
    assert paths(tmp_path, node="left") == {"ways.jsonl"}
    assert paths(tmp_path, node="right") == set(), "it was skipped"


async def test_only_what_changed_is_read_again(folder: Path) -> None:
    with RunStore(folder) as store:
        store.refresh()
    assert (folder / INDEX).stat().st_mode & 0o077 == 0
    with RunStore(folder) as store:
        assert store.refresh() == 0
        (folder / "cut.jsonl").unlink()
        (folder / "damaged.jsonl").write_bytes((folder / "done.jsonl").read_bytes())
        assert store.refresh() == 1
        assert {run.path for run in store.runs(RunFilter(state="done"))} == {"done.jsonl", "damaged.jsonl"}
        assert not store.runs(RunFilter(state="cut"))


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 4000])
async def test_a_file_in_place_of_an_index_is_left_as_it_is(
    content: bytes, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / INDEX).write_bytes(content)
    assert len(paths(folder)) == 5
    assert (folder / INDEX).read_bytes() == content
    assert "is no index of runs" in caplog.text


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE TABLE mine (x);",
        "CREATE TABLE mine (x); CREATE TABLE files (path); PRAGMA user_version = 1;",
        "CREATE TABLE files (path);",
        "CREATE TABLE facts (name PRIMARY KEY, value);",
        "CREATE TABLE facts (name, value); INSERT INTO facts VALUES ('version', CAST('lists 1' AS BLOB));",
        "CREATE TABLE facts (name, value); INSERT INTO facts VALUES ('version', 'runs 1');",
    ],
)
async def test_a_database_in_place_of_an_index_is_left_as_it_is(tables: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / INDEX)) as base:
        base.executescript(tables)
    before = (tmp_path / INDEX).read_bytes()
    assert paths(tmp_path) == set()
    assert (tmp_path / INDEX).read_bytes() == before


async def test_the_conversations_of_a_gateway_in_place_of_an_index_stay(tmp_path: Path) -> None:
    SqliteStore(tmp_path / INDEX).close()
    assert paths(tmp_path) == set()
    SqliteStore(tmp_path / INDEX).close()


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE TABLE files (path TEXT); PRAGMA user_version = 1;",
        "CREATE TABLE facts (name, value); INSERT INTO facts VALUES ('version', CAST('runs 9' AS BLOB));",
        "",
    ],
)
async def test_an_index_of_another_version_and_an_empty_file_become_an_index(
    tables: str, folder: Path
) -> None:
    with closing(sqlite3.connect(folder / INDEX)) as base:
        base.executescript(tables)
    with RunStore(folder) as store:
        assert store.refresh() == 6
    with RunStore(folder) as store:
        assert store.refresh() == 0


async def test_pages_of_an_index_that_are_damaged_are_made_anew(folder: Path) -> None:
    with RunStore(folder) as store:
        store.refresh()
    index = folder / INDEX
    content = index.read_bytes()
    index.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with RunStore(folder) as store:
        assert store.refresh() > 1
        assert store.find("done.jsonl") == folder / "done.jsonl"


async def test_an_index_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    records, other = tmp_path / "records", tmp_path / "other"
    records.mkdir()
    other.write_text("what nothing may change")
    await desk().invoke({"q": "go"}, record=records / "done.jsonl", run_id="aaa-1")
    (records / INDEX).symlink_to(other)
    with RunStore(records) as store:
        store.refresh()
        assert store.find("aaa-1") == records / "done.jsonl"
    assert other.read_text() == "what nothing may change"


async def test_an_index_that_another_process_writes_is_waited_for_and_not_emptied(folder: Path) -> None:
    paths(folder)
    before = (folder / INDEX).read_bytes()
    with closing(sqlite3.connect(folder / INDEX, isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            RunStore(folder, wait=0.0)
    assert (folder / INDEX).read_bytes() == before


async def test_files_that_lead_nowhere_or_have_no_name_are_left_out(folder: Path) -> None:
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    (folder / "folder.jsonl").mkdir()
    os.mkfifo(folder / "pipe.jsonl")
    (folder / os.fsdecode(b"\xff.jsonl")).write_bytes((folder / "done.jsonl").read_bytes())
    with RunStore(folder) as store:
        store.refresh()
        assert store.find("done.jsonl") == folder / "done.jsonl"


async def test_a_run_that_is_being_written_is_running(tmp_path: Path) -> None:
    await desk().invoke({"q": "go"}, record=tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[:5]))
    held = ContinuedRecorder(tmp_path / "a.jsonl", {})
    assert paths(tmp_path, state="running") == {"a.jsonl"}
    held.close()


async def test_a_run_is_found_by_its_id_or_its_path(folder: Path) -> None:
    with RunStore(folder) as store:
        store.refresh()
        assert store.find("aab") == folder / "sub" / "failed.jsonl"
        assert store.find("waits.jsonl") == folder / "waits.jsonl"
        with pytest.raises(RecordError, match="several runs begin with 'aa'"):
            store.find("aa")
        with pytest.raises(RecordError, match="no run begins with 'z'"):
            store.find("z")
    with pytest.raises(RecordError, match="there is no folder"):
        RunStore(folder / "none")


async def test_the_commands_list_search_and_open_runs(folder: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(main, ["runs", "list", str(folder), "--state", "failed"])
    assert listed.exit_code == 0, listed.output
    assert "aab-2  failed" in listed.stdout
    found = runner.invoke(main, ["runs", "search", str(folder), "seen 4", "--json"])
    assert [run["run_id"] for run in json.loads(found.stdout)["runs"]] == ["aaa-1"]
    assert "I look. seen 4 look" in runner.invoke(main, ["runs", "search", str(folder), "seen 4"]).stdout
    shown = runner.invoke(main, ["runs", "show", str(folder), "b-3"])
    assert "m: paused" in shown.stdout
    page = folder / "run.html"
    assert (
        runner.invoke(main, ["runs", "show", str(folder), "done.jsonl", "--html", str(page)]).exit_code == 0
    )
    assert "<html" in page.read_text()
    page.unlink()
    for command in (["runs", "show", str(folder), "damaged.jsonl"], ["trace", str(folder / "damaged.jsonl")]):
        damaged = runner.invoke(main, [*command, "--html", str(page)])
        assert (damaged.exit_code, "the record is damaged" in damaged.output) == (6, True)
        assert "planner" in page.read_text(), "what comes before the damage"
        page.unlink()
    wrong = runner.invoke(main, ["runs", "list", str(folder), "--tool-status", "ok"])
    assert (wrong.exit_code, "--tool-status needs --tool" in wrong.output) == (2, True)


async def test_a_search_shows_what_it_found_in_any_case(tmp_path: Path) -> None:
    await desk().invoke({"q": "far " * 50 + "Straße " + "off " * 50}, record=tmp_path / "a.jsonl")
    found = CliRunner().invoke(main, ["runs", "search", str(tmp_path), "STRASSE"])
    assert "far Straße off" in found.stdout


async def test_an_id_that_is_the_beginning_of_another_one_is_found(tmp_path: Path) -> None:
    for run_id in ("ticket-1", "ticket-17", "ticket_17"):
        await desk().invoke({"q": "go"}, record=tmp_path / f"{run_id}.jsonl", run_id=run_id)
    with RunStore(tmp_path) as store:
        store.refresh()
        assert store.find("ticket-1") == tmp_path / "ticket-1.jsonl"
        assert store.find("ticket_") == tmp_path / "ticket_17.jsonl"
        with pytest.raises(RecordError, match="several runs begin"):
            store.find("ticket")
