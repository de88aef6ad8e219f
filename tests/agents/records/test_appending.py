"""Lines that are added to a finished record continue its chain."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from codec_agents.exceptions import RecordDamagedError, RecordError
from codec_agents.records.appending import annotate
from codec_agents.records.reader import read_record
from tests.agents.recorded_runs import desk, refusing

pytestmark = pytest.mark.anyio
OLD = Path(__file__).parent / "written_before"


async def test_annotations_are_lines_of_the_same_chain(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    before = path.read_bytes()
    for grade in (1, 2):
        annotate(path, {"grade": grade, "by": "a \u202e reader"})
    assert path.read_bytes().startswith(before)
    record = read_record(path)
    assert [each["grade"] for each in record.annotations] == [1, 2]
    assert record.complete
    assert (await desk(refusing()).replay(path).execute()).text == record.texts()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-2], lines[-1]]))
    with pytest.raises(RecordDamagedError):
        read_record(path)


async def test_what_cannot_be_continued_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with pytest.raises(RecordError, match="cannot open"):
        annotate(path, {})
    async with desk().run({"q": "go"}, record=path) as run:
        with pytest.raises(RecordError, match="another run is writing"):
            annotate(path, {})
        with pytest.raises(RecordError, match="still under way"):
            desk().recover(path)
        await run.wait()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordDamagedError):
        annotate(path, {})
    old = tmp_path / "old.jsonl"
    old.write_bytes((OLD / "v2_desk.jsonl").read_bytes())
    with pytest.raises(RecordDamagedError, match="no checksum"):
        annotate(old, {})
    assert old.read_bytes() == (OLD / "v2_desk.jsonl").read_bytes()


def test_an_annotation_holds_what_json_holds(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"")
    for value in (float("nan"), {"of": [float("inf")]}):
        with pytest.raises(RecordError, match="NaN or an infinity"):
            annotate(path, {"reward": value})
    assert path.read_bytes() == b""


async def test_a_run_that_is_never_entered_lets_its_record_go(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    run = desk().run({"q": "go"}, record=path)
    with pytest.raises(RecordError, match="another run"):
        desk().run({"q": "go"}, record=path)
    del run
    gc.collect()
    await desk().invoke({"q": "go"}, record=path)
    assert read_record(path).complete
