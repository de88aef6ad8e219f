"""Batches in this process: one result for each key, whatever dies; the failure of a row is its result."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.exceptions import BatchError, EngineUnavailableError, PipelineError
from codec_agents.records import writer
from codec_agents.records.files import open_locked
from codec_agents.records.reader import read_record
from codec_agents.scale import read_rows, replicas, run_batch, runner
from codec_agents.scale.exporting import export
from codec_agents.scale.output import BatchOutput
from codec_agents.scale.runner import record_name
from codec_agents.testing import ScriptedEngine
from tests.agents.scale.batch_pipelines import make

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "question": f"q{number}"} for number in range(count)]


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def saying(answer: str = "yes", user: str = "{question}") -> Pipeline:
    """Declare one model that gives one answer."""
    p = Pipeline("p").input("question").sink("reader")
    p.model("m", engine=ScriptedEngine(lambda _: answer), map="demo/bytes", prompt=Chat(user=user))
    return p.connect("question", "m").connect("m", "reader")


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
    monkeypatch.setattr(runner, "BUSY_LOOKS", 0)
    held = open_locked(path)
    with pytest.raises(BatchError, match="another run is writing"):
        await run_batch(saying(), rows(1), tmp_path, key="id")
    os.close(held)
    assert results(tmp_path) == []


# --- files ---


def test_rows_are_read_from_files_of_each_kind(tmp_path: Path) -> None:
    wanted = [{"id": "1", "question": "ä\n,"}, {"id": "2", "question": "b"}]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in wanted) + "\n")
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "question"])
        writer.writeheader()
        writer.writerows(wanted)
    parts = tmp_path / "folder" / "data"
    parts.mkdir(parents=True)
    for number, row in enumerate(wanted):
        (parts / f"{number}.jsonl").write_text(json.dumps(row))
    for source in (tmp_path / "a.jsonl", tmp_path / "a.csv", tmp_path / "folder"):
        assert [(row.key, dict(row.values)) for row in read_rows(source, "id")] == [
            (row["id"], row) for row in wanted
        ]
    digests = {row.content_digest for source in ("a.jsonl", "a.csv") for row in read_rows(tmp_path / source)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"q": 1}\n{"q"', "a.jsonl:2: the line is not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: the line is not a JSON object"),
        ("a.jsonl", b'"\xff"\n', "a.jsonl:1: the line is not JSON"),
        ("a.jsonl", b'{"q": 1, "q": 2}\n', "a.jsonl:1: the line is not JSON: the name 'q' occurs twice"),
        ("a.jsonl", b'{"q": NaN}\n', "a.jsonl:1: the line is not JSON: JSON has no NaN"),
        ("a.jsonl", b'{"q": 1e999}\n', "a.jsonl:1: the line is not JSON"),
        ("a.jsonl", b'{"q": ' + b"[" * 100_000 + b"\n", "nested deeper"),
        ("a.csv", b"a,b\n1\n", "a.csv:2: the row has more or fewer fields"),
        ("a.csv", b"a\n\xff\n", "not CSV in UTF-8"),
        ("a.csv", b"a,b,a\n1,2,3\n", "the first line names the column 'a' twice"),
        ("a.txt", b"", "of no kind that can be read"),
    ],
)
def test_damaged_files_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match=said):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("content", ["a\n" + "x" * 2000 + "\n", "a\n" + '"x\n",' * 500 + "\n"])
def test_a_row_of_csv_is_bounded(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line without an end, and one row over many lines."""
    (tmp_path / "a.csv").write_text("a\n" + '"y"\n' * 1000)
    monkeypatch.setattr("codec_agents.scale.rows.MAX_ROW_BYTES", 1000)
    assert len(list(read_rows(tmp_path / "a.csv"))) == 1000
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(BatchError, match="a row is longer than 1000"):
        list(read_rows(tmp_path / "a.csv"))


def test_values_that_no_result_can_hold_are_null_or_text() -> None:
    """NaN would be null in a digest and an infinity too: rows that differ would be one."""
    read = [dict(row.values) for row in read_rows([{"x": float("nan"), "y": [float("-inf")], "z": 2.5}])]
    assert read == [{"x": None, "y": ["-inf"], "z": 2.5}]


def test_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="has no file of a kind"):
        list(read_rows(tmp_path))
    with pytest.raises(BatchError, match="there is no"):
        list(read_rows(tmp_path / "none.jsonl"))
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "a.csv").touch()
    with pytest.raises(BatchError, match="files of several kinds"):
        list(read_rows(tmp_path))


async def test_texts_that_are_long_or_no_text_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"id,question\n1,{'x' * 200_000}\n")
    (row,) = read_rows(tmp_path / "a.csv", "id")
    assert len(row.values["question"]) == 200_000
    # The escapes of JSON can spell what is no character: a failure of the row.
    (tmp_path / "a.jsonl").write_text('{"id": 1, "question": "\\ud800"}\n{"id": 2, "question": "b"}\n')
    summary = await run_batch(saying(), tmp_path / "a.jsonl", tmp_path / "out", key="id")
    assert (summary.done, summary.failed) == (1, 1)


async def test_parquet_and_saved_datasets_are_read_and_written(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet: make test-ray")
    from pyarrow import ipc, parquet

    table = pyarrow.table({"id": [1, 2], "question": ["a", "b"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "dataset_info.json").write_text("{}")
    with ipc.new_stream(saved / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table)
    wanted = [("1", {"id": 1, "question": "a"}), ("2", {"id": 2, "question": "b"})]
    for source in (tmp_path / "a.parquet", saved):
        assert [(row.key, dict(row.values)) for row in read_rows(source, "id")] == wanted
    whole = (saved / "data-00000-of-00001.arrow").read_bytes()
    parquet.write_table(pyarrow.table({"q": [f"{n} " * 40 for n in range(900)]}), tmp_path / "c.parquet")
    packed = bytearray((tmp_path / "c.parquet").read_bytes())
    packed[500:600] = bytes(100)
    latin = pyarrow.array([b"\xff"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"q": latin}), tmp_path / "d.parquet")
    for name, content in (
        ("b.parquet", b"PAR1"),
        ("c.parquet", bytes(packed)),
        ("d.parquet", (tmp_path / "d.parquet").read_bytes()),
        ("b.arrow", whole[: len(whole) // 2]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BatchError, match=rf"{name} cannot be read"):
            list(read_rows(tmp_path / name))
    await run_batch(saying(), tmp_path / "a.parquet", tmp_path / "out", key="id")
    for form in ("parquet", "dataset"):
        written = parquet.read_table(export(tmp_path / "out", form)).to_pylist()
        assert {(row["key"], row["text.reader"], row["error"]) for row in written} == {
            ("1", "yes", None),
            ("2", "yes", None),
        }


async def test_results_are_written_as_csv(tmp_path: Path) -> None:
    await run_batch(make(), [*rows(1), {"id": "bad", "question": "break"}], tmp_path, key="id")
    with export(tmp_path, "csv").open(newline="") as file:
        found = {row["key"]: row for row in csv.DictReader(file)}
    assert found["0"]["text.reader"] == "Written: Rewrite: sum is 3 for q0"
    assert found["bad"]["error"].startswith("NodeFailedError: ")
    with pytest.raises(BatchError, match="the forms are csv"):
        export(tmp_path, "xls")


def test_urls_of_engines_make_replicas(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "pipeline: p\nengines: {A: {kind: vllm, url: 'http://127.0.0.1:1'}}\n"
        "nodes:\n  m: {engine: A, model: m, map: demo/bytes, prompt: '{q}'}\n"
        "  q: {kind: input}\n  r: {kind: sink}\n"
        "edges: [q -> m.q, m.answer -> r]\n"
    )
    made = replicas(file, {"A": ["http://127.0.0.1:2", "http://127.0.0.1:3"]})
    assert [p.spec.engines["A"].url for p in made] == ["http://127.0.0.1:2", "http://127.0.0.1:3"]
    with pytest.raises(BatchError, match="no engine 'B'"):
        replicas(file, {"B": ["http://127.0.0.1:2"]})
    with pytest.raises((PipelineError, ValueError), match="http"):
        replicas(file, {"A": ["ftp://127.0.0.1"]})


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
            pass
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


async def test_a_scripted_engine_keeps_no_more_than_its_last_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec_agents.engines.scripted.engine.REQUESTS_KEPT", 4)
    engine = ScriptedEngine(lambda _: "yes")
    p = saying()
    p.live.engines.update(dict.fromkeys(p.live.engines, engine))
    await run_batch(p, rows(20), tmp_path, key="id", concurrency=1)
    assert 4 <= len(engine.requests) <= 8


async def test_results_that_are_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("what nothing may change")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").symlink_to(tmp_path / "other")
    (tmp_path / "a.jsonl").write_text('{"id": 1, "question": "a"}\n')
    with pytest.raises((BatchError, OSError)):
        await run_batch(saying(), tmp_path / "a.jsonl", tmp_path / "out", key="id")
    assert (tmp_path / "other").read_text() == "what nothing may change"
