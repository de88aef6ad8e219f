"""Batches in this process: one result for each key, whatever dies; the failure of a row is its result."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codec_agents.exceptions import BatchError, EngineUnavailableError
from codec_agents.records import writer
from codec_agents.records.files import open_locked
from codec_agents.records.reader import read_record
from codec_agents.scale import read_rows, run_batch, runner
from codec_agents.scale.exporting import export
from codec_agents.scale.output import BatchOutput, KeyIndex
from codec_agents.scale.runner import record_name
from codec_agents.testing import ScriptedEngine
from tests.agents.scale.batch_pipelines import make, results, rows, saying

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


async def test_each_row_has_one_result_and_a_record(tmp_path: Path) -> None:
    seen: list[int] = []
    summary = await run_batch(
        make(), rows(5), tmp_path, key="id", progress=lambda summary, _: seen.append(summary.rows)
    )
    assert (summary.done, summary.failed, summary.skipped) == (5, 0, 0)
    assert seen == [1, 2, 3, 4, 5]
    found = {line["key"]: line for line in results(tmp_path)}
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    assert found["3"]["text"] == {"reader": "Written: Rewrite: sum is 3 for q3"}
    record = read_record(tmp_path / found["3"]["record"])
    assert record.complete
    assert record.inputs == {"question": "q3"}
    files = [tmp_path / "results.jsonl", tmp_path / "batch.json", export(tmp_path, "csv")]
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_a_result_that_no_start_would_read_is_a_failure(tmp_path: Path) -> None:
    given = list(read_rows([{"question": "short"}, {"question": "long", "more": "\x01" * 1000}]))
    with BatchOutput(tmp_path, make(), max_result_bytes=2000) as output:
        for row in output.pending(iter(given)):
            output.write({"key": row.key, "row": row.content_digest, "inputs": dict(row.values)})
    assert (output.summary.done, output.summary.failed) == (1, 1)
    assert "longer than" in str([line["error"] for line in results(tmp_path) if "error" in line])
    with BatchOutput(tmp_path, make(), max_result_bytes=2000) as output:
        assert list(output.pending(iter(given))) == []


async def test_a_second_start_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    await run_batch(make(), rows(3), tmp_path, key="id")
    summary = await run_batch(make(), rows(5), tmp_path, key="id")
    assert (summary.done, summary.skipped) == (2, 3)
    assert Counter(line["key"] for line in results(tmp_path)) == dict.fromkeys("01234", 1)


async def test_a_failure_is_the_result_of_its_row_and_can_be_tried_again(tmp_path: Path) -> None:
    given = [*rows(2), {"id": "bad", "question": "break"}, {"id": "empty", "question": None}]
    summary = await run_batch(make(), given, tmp_path, key="id")
    assert (summary.done, summary.failed) == (2, 2)
    found = {line["key"]: line.get("error") for line in results(tmp_path)}
    assert (found["bad"]["type"], found["bad"]["node"]) == ("NodeFailedError", "planner")
    assert found["empty"]["type"] == "InputError"
    assert {line["key"] for line in results(tmp_path) if "record" in line} == {"0", "1", "bad"}
    again = await run_batch(make(), given, tmp_path, key="id")
    assert (again.done, again.failed, again.skipped) == (0, 0, 4)
    retried = await run_batch(make(), given, tmp_path, key="id", retry_failed=True)
    assert (retried.done, retried.failed, retried.skipped) == (0, 2, 2)
    assert len(results(tmp_path)) == 4


async def test_a_run_that_was_recorded_and_has_no_result_is_not_asked_again(tmp_path: Path) -> None:
    await run_batch(make(), rows(3), tmp_path, key="id")
    file = tmp_path / "results.jsonl"
    whole = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(whole[0] + whole[1][:20])  # a crash while the second was written

    def forbidden(_: Any) -> str:
        raise AssertionError("an engine was asked")

    p = make()
    p.live.engines["A"] = p.live.engines["B"] = ScriptedEngine(forbidden)
    summary = await run_batch(p, rows(3), tmp_path, key="id")
    assert (summary.done, summary.failed, summary.skipped) == (2, 0, 1)
    texts = {line["text"]["reader"] for line in map(json.loads, whole)}
    assert {line["text"]["reader"] for line in results(tmp_path)} == texts


async def test_without_a_key_equal_rows_are_one_and_results_hold_the_row(tmp_path: Path) -> None:
    summary = await run_batch(saying(), [{"question": "a"}, {"question": "b"}, {"question": "a"}], tmp_path)
    assert (summary.done, summary.skipped) == (2, 1)
    assert [line["values"] for line in results(tmp_path)] == [{"question": "a"}, {"question": "b"}]


async def test_no_more_rows_are_read_than_are_run(tmp_path: Path) -> None:
    taken = 0
    waits: list[int] = []

    def source() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for row in rows(50):
            taken += 1
            yield row

    await run_batch(
        saying(), source(), tmp_path, key="id", concurrency=3,
        progress=lambda summary, _: waits.append(taken - summary.rows),
    )  # fmt: skip
    assert taken == 50
    assert max(waits) <= 3


async def test_rows_are_divided_among_servers_and_go_on_with_another_one(tmp_path: Path) -> None:
    class Down(ScriptedEngine):
        def stream(self, request: Any) -> Any:
            raise EngineUnavailableError(self.name, "no connection")

    pipelines = [saying(), saying(), saying()]
    pipelines[1].live.engines.update({name: Down("x") for name in pipelines[1].live.engines})
    summary = await run_batch(pipelines, rows(6), tmp_path, key="id", concurrency=3)
    assert (summary.done, summary.failed) == (6, 0)


async def test_what_progress_raises_ends_the_batch(tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_batch(saying(), rows(9), tmp_path, key="id", progress=fail)
    assert (await run_batch(saying(), rows(9), tmp_path, key="id")).rows == 9


# --- refusals ---


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ([{"id": 1, "q": "x"}], {"key": "id"}, "no column 'question' for the input 'question'"),
        ([{"question": "x"}], {"key": "id"}, "row 1 has no text or number in the column 'id'"),
        ([{"id": float("nan"), "question": "x"}], {"key": "id"}, "row 1 has no text or number"),
        ([{"id": "\ud800", "question": "x"}], {"key": "id"}, "row 1 has no text or number"),
        ([{"id": 1, "question": "x"}, {"id": 1, "question": "y"}], {"key": "id"}, "two different rows"),
        ([{"question": "x"}], {"columns": {"other": "question"}}, "the pipeline has no input 'other'"),
    ],
)
async def test_inputs_that_cannot_be_meant_are_refused(
    given: Any, options: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(BatchError, match=said):
        await run_batch(saying(), given, tmp_path, **options)


async def test_a_folder_of_another_batch_is_refused(tmp_path: Path) -> None:
    await run_batch(saying(), rows(1), tmp_path, key="id")
    for p, options, said in (
        (make(), {"key": "id"}, "another pipeline"),
        (saying(), {}, "another key"),
        (saying(), {"key": "id", "columns": {"question": "id"}}, "another columns"),
    ):
        with pytest.raises(BatchError, match=said):
            await run_batch(p, rows(1), tmp_path, **options)
    with pytest.raises(BatchError, match="the pipeline 'p' has changed"):
        await run_batch(saying(user="{question}!"), rows(1), tmp_path, key="id")
    changed = [{"id": 0, "question": "other words"}]
    with pytest.raises(BatchError, match="the row of this key has changed"):
        await run_batch(saying(), changed, tmp_path, key="id")
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(BatchError, match=r"results.jsonl:1: the line is no result"):
        await run_batch(saying(), rows(1), tmp_path, key="id")


async def test_a_result_that_is_too_long_to_read_is_refused_and_nothing_is_cut_off(tmp_path: Path) -> None:
    await run_batch(saying(), rows(3), tmp_path, key="id")
    file = tmp_path / "results.jsonl"
    whole = file.read_bytes()
    longest = whole.index(b"\n")
    for retry_failed in (False, True):
        with pytest.raises(BatchError, match=r"results.jsonl:1: the line is longer than"):
            BatchOutput(tmp_path, saying(), key="id", retry_failed=retry_failed, max_result_bytes=longest)
    assert file.read_bytes() == whole


async def test_an_output_among_the_inputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "question": "x"}\n')
    for output in (tmp_path, tmp_path / "a" / "out"):
        with pytest.raises(BatchError, match="lies in the folder of the inputs"):
            await run_batch(saying(), tmp_path, output, key="id")
    assert (await run_batch(saying(), tmp_path / "rows.jsonl", tmp_path, key="id")).done == 1


@pytest.mark.parametrize("content", ["[]", '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"])
async def test_a_damaged_description_of_a_batch_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "batch.json").write_text(content)
    with pytest.raises(BatchError, match="is damaged"):
        await run_batch(make(), rows(1), tmp_path, key="id")


async def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with BatchOutput(tmp_path, saying(), key="id"), pytest.raises(BatchError, match="another process writes"):
        BatchOutput(tmp_path, saying(), key="id")
    BatchOutput(tmp_path, saying(), key="id").close()


# --- records that cannot be written ---


async def test_a_full_disk_ends_the_batch_and_is_the_failure_of_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_line, left = writer.write_line, [200]

    def write(descriptor: int, line: bytes, *, flush: bool) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_line(descriptor, line, flush=flush)

    monkeypatch.setattr(writer, "write_line", write)
    with pytest.raises(BatchError, match=r"No space left.*started again"):
        await run_batch(make(), rows(9), tmp_path, key="id", concurrency=1)
    done = len(results(tmp_path))
    assert 0 < done < 9
    assert all("error" not in line for line in results(tmp_path))
    monkeypatch.undo()
    summary = await run_batch(make(), rows(9), tmp_path, key="id")
    assert (summary.done, summary.failed, summary.skipped) == (9 - done, 0, done)


async def test_a_row_waits_while_another_process_is_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor whose driver died goes on for a while; the next driver's actors come to its rows."""
    (row,) = read_rows(rows(1), "id")
    path = tmp_path / record_name(row)
    path.parent.mkdir(parents=True)
    held, waits = open_locked(path), [0]

    async def sleep(_: float) -> None:
        waits[0] += 1
        if waits[0] == 2:
            os.close(held)

    monkeypatch.setattr(runner.anyio, "sleep", sleep)
    summary = await run_batch(saying(), rows(1), tmp_path, key="id")
    assert (summary.done, waits) == (1, [2])


async def test_a_record_that_stays_in_use_ends_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = read_rows(rows(1), "id")
    path = tmp_path / record_name(row)
    path.parent.mkdir(parents=True)
    held, looks = open_locked(path), [0]

    async def sleep(_: float) -> None:
        looks[0] += 1

    monkeypatch.setattr(runner.anyio, "sleep", sleep)
    with pytest.raises(BatchError, match="another run is writing"):
        await run_batch(saying(), rows(1), tmp_path, key="id")
    os.close(held)
    assert results(tmp_path) == []
    assert looks == [runner.BUSY_LOOKS]


# --- the command, killed ---

YAML = """
pipeline: slow
engines: {A: {kind: scripted, script: yes it is so, ids_a_second: 400}}
nodes:
  question: {kind: input}
  m: {engine: A, map: demo/bytes, prompt: "{question}"}
  reader: {kind: sink}
edges: [question -> m.question, m.answer -> reader]
"""


def command(folder: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "codec_agents.cli", "batch", str(folder / "p.yaml"),
        "-i", str(folder / "rows.jsonl"), "-o", str(folder / "out"), "--key", "id", *options,
    ]  # fmt: skip


def inputs_in(folder: Path, count: int) -> None:
    (folder / "p.yaml").write_text(YAML)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(count)))


@pytest.mark.slow
def test_a_batch_that_is_killed_again_and_again_gives_each_key_one_result(tmp_path: Path) -> None:
    inputs_in(tmp_path, 60)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for wanted in (5, 20, 40):
        process = subprocess.Popen(command(tmp_path, "--json"), env=environment, stdout=subprocess.DEVNULL)
        file = tmp_path / "out" / "results.jsonl"
        while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < wanted):
            time.sleep(0.01)  # the other process needs the processor
        process.kill()
        process.wait()
    done = subprocess.run(
        command(tmp_path, "--json"), env=environment, capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert document["done"] + document["skipped"] == 60
    assert document["skipped"] >= 40
    found = results(tmp_path / "out")
    assert Counter(line["key"] for line in found) == {str(number): 1 for number in range(60)}
    for line in found:
        assert read_record(tmp_path / "out" / line["record"]).complete


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from codec_agents.cli import main

    inputs_in(tmp_path, 2)
    (tmp_path / "p.yaml").write_text(YAML.replace(", ids_a_second: 400", ""))
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"id": "\\u001b[31m", "question": null}\n')
    runner = CliRunner()
    first = runner.invoke(main, command(tmp_path)[3:])
    assert first.exit_code == 1, first.output
    assert "2 done, 1 failed" in first.stdout
    assert "failed \\x1b[31m: InputError" in first.stderr.replace("\\u001b", "\\x1b")
    assert "--retry-failed" in first.stderr
    again = runner.invoke(main, [*command(tmp_path)[3:], "--json", "--format", "csv"])
    assert again.exit_code == 0
    document = json.loads(again.stdout)
    assert (document["done"], document["skipped"]) == (0, 3)
    assert Path(document["written"][0]).exists()
    wrong = runner.invoke(main, [*command(tmp_path)[3:], "-c", "x"])
    assert wrong.exit_code == 2
    assert "NAME=VALUE" in wrong.output


async def test_a_scripted_engine_keeps_no_more_than_its_last_requests(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: "yes", requests_kept=4)
    p = saying()
    p.live.engines.update(dict.fromkeys(p.live.engines, engine))
    await run_batch(p, rows(20), tmp_path, key="id", concurrency=1)
    assert 4 <= len(engine.requests) <= 8


@pytest.mark.parametrize("retry_failed", [False, True])
async def test_results_that_are_a_link_are_refused(tmp_path: Path, *, retry_failed: bool) -> None:
    (tmp_path / "other").write_text("what nothing may change")
    (tmp_path / "a.jsonl").write_text('{"id": 1, "question": "a"}\n')
    await run_batch(saying(), tmp_path / "a.jsonl", tmp_path / "out", key="id")
    # The folder is one of this batch's but for the link: nothing else about it is refused.
    (tmp_path / "out" / "results.jsonl").unlink()
    (tmp_path / "out" / "results.jsonl").symlink_to(tmp_path / "other")
    with pytest.raises(BatchError, match="cannot write"):
        BatchOutput(tmp_path / "out", saying(), key="id", retry_failed=retry_failed)
    assert (tmp_path / "other").read_text() == "what nothing may change"


@pytest.mark.parametrize("retry_failed", [False, True])
def test_only_the_beginning_of_a_result_is_cut_off(tmp_path: Path, *, retry_failed: bool) -> None:
    BatchOutput(tmp_path, saying()).close()
    path = tmp_path / "results.jsonl"
    for half in ('{"k', '{"key":"a","row":"1'):
        path.write_text(half)
        BatchOutput(tmp_path, saying(), retry_failed=retry_failed).close()
        assert path.read_text() == ""
    path.write_text("a text of one line")
    with pytest.raises(BatchError, match="no result, nor the beginning of one"):
        BatchOutput(tmp_path, saying(), retry_failed=retry_failed)
    assert path.read_text() == "a text of one line"


def test_a_batch_that_cannot_begin_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[KeyIndex] = []
    close = KeyIndex.close

    def closing(index: KeyIndex) -> None:
        closed.append(index)
        close(index)

    monkeypatch.setattr(KeyIndex, "close", closing)
    with BatchOutput(tmp_path, saying()):
        with pytest.raises(BatchError, match="another process"):
            BatchOutput(tmp_path, saying())
        assert len(closed) == 1
    with pytest.raises(ValueError, match="durability"):
        BatchOutput(tmp_path / "new", saying(), durability="some")  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_no_place_for_a_run_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    from codec_agents.scale.ray_data import run_on_ray

    with pytest.raises(ValueError, match="concurrency"):
        run_on_ray("p.yaml", rows(1), tmp_path / "out", concurrency=0)
    assert not (tmp_path / "out").exists()


def test_engines_beside_a_function_that_makes_the_pipeline_are_refused(tmp_path: Path) -> None:
    from codec_agents.scale.ray_data import run_on_ray

    with pytest.raises(ValueError, match="with `make`, give them to its pipeline"):
        run_on_ray("desk.yaml", [], tmp_path / "out", make=list, engines={"e": ["http://127.0.0.1:1"]})
