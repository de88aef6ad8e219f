"""Files of version 0.1 read unchanged: a declaration, a record, and the pause of a run.

The record, the pause and the data beside them were written by that version, and are never written again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec_agents import Pipeline
from codec_agents.graph.files.document import read_document
from codec_agents.records.reader import read_record

HERE = Path(__file__).parent
TEXTS = json.loads((HERE / "desk.text.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """Forget the module of the declarations, whose name others may have as well."""
    yield
    sys.modules.pop("scripts", None)


def declared(name: str) -> Pipeline:
    return Pipeline.from_yaml(HERE / f"{name}.yaml")


def test_the_declaration_means_what_it_meant() -> None:
    pipeline = declared("desk")
    told = json.loads((HERE / "desk.spec.json").read_text(encoding="utf-8"))
    assert json.loads(pipeline.spec.model_dump_json(by_alias=True, exclude_defaults=True)) == told
    assert [fault for fault in pipeline.check() if fault.severity == "error"] == []


def test_its_digest_is_the_recorded_one() -> None:
    header = json.loads((HERE / "desk.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert declared("desk").build().digest == header["digest"]


def test_it_runs_to_the_same_texts() -> None:
    result = declared("desk").invoke_sync({"question": "Oslo or Bergen?"})
    assert result.text == TEXTS


def test_the_record_reads_whole() -> None:
    record = read_record(HERE / "desk.jsonl")
    assert record.complete
    assert [turn.node for turn in record.turns if turn.tools] == ["planner"]


@pytest.mark.asyncio
async def test_the_record_replays() -> None:
    pipeline = declared("desk")
    assert (await pipeline.replay(HERE / "desk.jsonl").execute()).text == TEXTS


@pytest.mark.asyncio
async def test_a_cut_record_is_recovered(tmp_path: Path) -> None:
    lines = (HERE / "desk.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")
    pipeline = declared("desk")
    assert (await pipeline.recover(tmp_path / "cut.jsonl").execute()).text == TEXTS


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("decision", "text"),
    [(True, "booked Oslo at 12:00"), ("not today", "Error: not today at 12:00")],
)
async def test_the_pause_is_resumed(decision: bool | str, text: str) -> None:
    pause = (HERE / "approval.pause.json").read_text(encoding="utf-8")
    run = declared("approval").resume(pause, [decision])
    assert (await run.execute()).text == {"reader": text}


def test_the_fixtures_are_plain_yaml() -> None:
    for name in ("desk", "approval"):
        assert read_document((HERE / f"{name}.yaml").read_text(encoding="utf-8")).faults == []
