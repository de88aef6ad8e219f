"""The files of a batch: rows are read from each kind, results are written in each, and damage is refused."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from codec_agents.cli import exits, main
from codec_agents.exceptions import BatchError, PipelineError
from codec_agents.scale import read_rows, replicas, run_batch
from codec_agents.scale.exporting import export
from codec_agents.scale.rows import csv_rows, files_of
from tests.agents.scale.batch_pipelines import make, rows, saying

pytestmark = pytest.mark.anyio


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
        ("a.csv", b'a\n"cut off\n', "not CSV in UTF-8: unexpected end of data"),
        ("a.csv", b'a\n"He said "no" to it"\n', "a.csv:2: the file is not CSV in UTF-8"),
        ("a.csv", b"a,b,a\n1,2,3\n", "the first line names the column 'a' twice"),
        ("a.txt", b"", "of no kind that can be read"),
    ],
)
def test_damaged_files_are_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match=said):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("content", ["a\n" + "x" * 2000 + "\n", "a\n" + '"x\n",' * 500 + "\n"])
def test_a_row_of_csv_is_bounded(content: str, tmp_path: Path) -> None:
    """One line without an end, and one row over many lines."""
    (tmp_path / "a.csv").write_text("a\n" + '"y"\n' * 1000)
    assert len(list(csv_rows(tmp_path / "a.csv", 1000))) == 1000
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(BatchError, match="a row is longer than 1000"):
        list(csv_rows(tmp_path / "a.csv", 1000))


def test_values_that_no_result_can_hold_are_null_or_text() -> None:
    """NaN would be null in a digest and an infinity too: rows that differ would be one."""
    read = [dict(row.values) for row in read_rows([{"x": float("nan"), "y": [float("-inf")], "z": 2.5}])]
    assert read == [{"x": None, "y": ["-inf"], "z": 2.5}]


def test_rows_that_are_no_mappings_are_refused_and_numbers_may_name_columns() -> None:
    endless: list[object] = []
    endless.append(endless)
    for row in (5, {"x": endless}):
        with pytest.raises(BatchError, match="row 1 is not a mapping from columns to values"):
            list(read_rows([row]))  # type: ignore[list-item]
    (found,) = read_rows([{0: "a", 1: "b"}], "0")  # type: ignore[list-item]
    assert (found.key, found.values, len(found.content_digest)) == ("a", {"0": "a", "1": "b"}, 32)


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


def test_a_saved_dataset_is_the_files_that_it_names(tmp_path: Path) -> None:
    """And not the tables that `datasets` computed of it and keeps in the same folder."""
    for split in ("train", "test"):
        folder = tmp_path / split
        folder.mkdir()
        names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
        for name in (*names, "cache-3714e43fa58a7d23.arrow"):
            (folder / name).touch()
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    assert [file.relative_to(tmp_path).as_posix() for file in files_of(tmp_path)] == [
        f"{split}/data-0000{part}-of-00002.arrow" for split in ("test", "train") for part in range(2)
    ]
    (tmp_path / "test" / "state.json").write_text("[]")
    with pytest.raises(BatchError, match="does not name the files of a saved dataset"):
        files_of(tmp_path)


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


@pytest.mark.parametrize("fields", ['"text":5', '"text":{"s":5}', '"error":{}', '"record":4'])
def test_a_result_with_values_of_other_types_is_not_exported(fields: str, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(f'{{"key":"a","row":"b",{fields}}}\n')
    with pytest.raises(BatchError, match=r"results.jsonl:1: the line is no result"):
        export(tmp_path, "csv")


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
    with pytest.raises(PipelineError, match=r"engines\.A\.url: a URL begins with http"):
        replicas(file, {"A": ["ftp://127.0.0.1"]})
    file.write_text(file.read_text().replace("url: 'http://127.0.0.1:1'", "urls: ['http://127.0.0.1:1']"))
    (made_of_pool,) = replicas(file, {"A": ["http://127.0.0.1:2"]})
    assert made_of_pool.spec.engines["A"].addresses == ("http://127.0.0.1:2",)


@pytest.mark.parametrize("form", ["parquet", "dataset"])
def test_a_form_that_cannot_be_written_is_refused_before_the_first_row(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "question": "x"}\n')
    (tmp_path / "p.yaml").write_text("pipeline: p\nedges: [question -> out]\n")
    given = [str(tmp_path / name) for name in ("p.yaml", "rows.jsonl", "out")]
    done = CliRunner().invoke(main, ["batch", given[0], "-i", given[1], "-o", given[2], "--format", form])
    assert done.exit_code == exits.DATA_UNUSABLE
    assert "pip install 'codec-agents[parquet]'" in done.stderr
    assert not (tmp_path / "out").exists()
