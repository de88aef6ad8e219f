"""Values in records, annotations and pauses that are nested without end: a typed error, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from codec_agents.cli import main
from codec_agents.exceptions import PauseError, RecordDamagedError, RecordError
from codec_agents.records.appending import annotate
from codec_agents.records.format import MAX_LEVELS
from codec_agents.records.reader import read_record
from codec_agents.runtime.pause import Pause
from codec_agents.trace.page import write_page
from codec_agents.trace.reading import read_run
from tests.agents.recorded_runs import desk

FIRST = '{"kind":"run","version":2,"run_id":"r","pipeline":"p"}'
TURN = [
    '{"kind":"prompt","node":"m","turn":1,"kept":0,"ids":[1,2],"at":0.1}',
    '{"kind":"ids","node":"m","turn":1,"ids":[3],"at":0.2}',
    '{"kind":"turn","node":"m","turn":1,"regions":[],"at":0.3}',
]
TOOL = (
    '{"kind":"tool","node":"m","turn":1,"name":"t","arguments":%s,"call":[0,0],"status":"ok","told":"x",'
    '"seconds":0.1,"at":0.4}'
)
LINES = {
    "a call": [*TURN, TOOL],
    "the result of a function": ['{"kind":"function","node":"f","given":"x","gave":%s,"at":0.4}'],
    "a note": ['{"kind":"annotation","fields":%s}'],
    "a line of another kind": ['{"kind":"later","more":%s}'],
    "a call that waits": [
        '{"kind":"suspended","pause":"x","calls":[{"key":"k","node":"m","name":"t","arguments":%s}],"at":0.4}'
    ],
    "the options of a turn": [TURN[0].replace('"at"', '"sampling":%s,"at"')],
}


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


def record(path: Path, lines: list[str], levels: int) -> Path:
    text = "\n".join([FIRST, *lines, ""])
    path.write_text(text.replace("%s", nested(levels)), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 500, 700])
def test_a_line_that_is_nested_too_deep_is_damage(tmp_path: Path, name: str, levels: int) -> None:
    path = record(tmp_path / "run.jsonl", LINES[name], levels)
    with pytest.raises(RecordDamagedError, match=f"deeper than {MAX_LEVELS} levels") as damaged:
        read_record(path)
    assert damaged.value.record is not None


@pytest.mark.parametrize("name", LINES)
def test_what_is_read_can_be_shown_and_written(tmp_path: Path, name: str) -> None:
    path = record(tmp_path / "run.jsonl", LINES[name], MAX_LEVELS - 4)
    write_page(tmp_path / "page.html", [read_run(path)])
    for command in (["show"], ["show", "--json"], ["compare", str(path)]):
        done = CliRunner().invoke(main, ["record", *command, str(path)])
        assert (done.exit_code, done.exception) == (0, None)


def test_a_first_line_that_is_nested_too_deep_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(FIRST[:-1] + f',"more":{nested(500)}}}\n', encoding="utf-8")
    with pytest.raises(RecordDamagedError, match="levels"):
        read_record(path)


@pytest.mark.anyio
async def test_a_note_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    deep: Any = {}
    for _ in range(MAX_LEVELS - 2):
        deep = {"a": deep}
    annotate(path, deep)
    with pytest.raises(RecordError, match="nested deeper"):
        annotate(path, {"a": deep})
    assert read_record(path).annotations == [deep]


def test_a_pause_that_is_nested_too_deep_is_none() -> None:
    call = f'{{"node":"m","position":0,"name":"t","arguments":{nested(500)}}}'
    turn = f'{{"number":1,"prompt":[1],"generated":[2],"finish_reason":null,"pending":[{call}]}}'
    text = (
        f'{{"pipeline":"p","digest":"d","maps":{{}},"run_id":"r","inputs":{{}},"waiting":{{"m":{turn}}},'
        '"ended":{},"started":[],"usage":{}}'
    )
    with pytest.raises(PauseError, match=f"deeper than {MAX_LEVELS} levels"):
        Pause.from_json(text)
