"""`codec-agents init`: what it writes runs, and passes its own test."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from codec_agents.cli import exits, main


@pytest.mark.slow
def test_what_is_written_runs_and_passes_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test of this process may have loaded a module of the same name from another folder.
    monkeypatch.delitem(sys.modules, "starter_tools", raising=False)
    folder = tmp_path / "mine"
    assert CliRunner().invoke(main, ["init", str(folder)]).exit_code == exits.DONE
    line = ["run", str(folder / "pipeline.yaml"), "-i", "question=How long?", "-q"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == exits.DONE, done.output
    notes, answer = done.stdout.splitlines()
    assert notes.startswith("Let me look that up. Days until the next century: ")
    assert answer == "The next century is far away; there is time."
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pipeline.py"]
    ran = subprocess.run(tests, cwd=folder, capture_output=True, text=True, timeout=55, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "starter_tools.py").write_text("mine")
    done = CliRunner().invoke(main, ["init", str(tmp_path)])
    assert done.exit_code == exits.USAGE
    assert "starter_tools.py exists" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["starter_tools.py"]


def test_the_commands_that_are_printed_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my first one"
    printed = CliRunner().invoke(main, ["init", str(folder)]).output
    commands = [line.partition(": ")[2] for line in printed.splitlines() if " it with: " in line]
    run, test = (shlex.split(command) for command in commands)
    assert run[2] == str(folder / "pipeline.yaml")
    assert test[3] == str(folder)
