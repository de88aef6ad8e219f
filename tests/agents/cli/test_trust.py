"""What commands execute of a pipeline file and of a record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = """
from pathlib import Path

Path(__file__).with_name("imported").touch()

def look(city: str) -> str:
    "Look a city up."
    Path(__file__).with_name("called").touch()
    return city

def model(prompt):
    Path(__file__).with_name("asked").touch()
    return "fine"
"""

PIPELINE = """
pipeline: trust
engines:
  scripted: {kind: scripted, script: "mine:model"}
nodes:
  question: {kind: input}
  bot: {kind: model, engine: scripted, map: demo/bytes, tools: ["mine:look"], prompt: {user: "{question}"}}
  out: {kind: sink, text: true}
edges:
  - question -> bot.question
  - bot.answer -> out
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(TOOLS)
    (tmp_path / "desk.yaml").write_text(PIPELINE)
    return tmp_path


def command(folder: Path, *arguments: str) -> set[str]:
    """Run a command; return what it executed."""
    done = subprocess.run(
        [sys.executable, "-m", "codec_agents.cli", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    traces = [folder / name for name in ("imported", "called", "asked")]
    found = {path.name for path in traces if path.exists()}
    for path in traces:
        path.unlink(missing_ok=True)
    return found


SLOW = (pytest.param(name, marks=pytest.mark.slow) for name in ("explain", "graph"))


@pytest.mark.parametrize("name", ["check", *SLOW])
def test_a_build_imports_and_calls_nothing(folder: Path, name: str) -> None:
    """A pipeline file is code: to build it is to import what it names. Nothing of that is called."""
    assert command(folder, name, "desk.yaml") == {"imported"}


@pytest.mark.slow
def test_reading_a_record_imports_nothing(folder: Path) -> None:
    record = str(folder / "run.jsonl")
    asked = command(folder, "run", "desk.yaml", "-q", "-i", "question=hi", "--record", record)
    assert asked == {"imported", "asked"}
    assert command(folder, "record", "show", record) == set()
    assert command(folder, "trace", record) == set()
