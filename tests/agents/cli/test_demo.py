"""`codec-agents demo`: from any folder, also where only the base install is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from codec_agents.cli import exits, main
from tests.conftest import REPOSITORY

HIDE = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
for name in ("uvicorn", "h11", "jinja2", "mcp", "aiohttp", "brotli", "zstandard"):
    sys.modules[name] = None
from codec_agents.cli import main
main(sys.argv[1:])
"""
"""Runs the command as if no extra was installed."""


def run(*arguments: str, folder: Path, base: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-c", HIDE] if base else ["-m", "codec_agents.cli"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "110"}
    command = [sys.executable, *start, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", timeout=50, env=environment, check=False
    )


@pytest.mark.slow  # it runs at the pace that a person can follow
def test_the_demo_needs_no_clone_and_no_extra(tmp_path: Path) -> None:
    texts = set()
    for base in (False, True):
        done = run("demo", "From Lisbon to Oslo on Friday in March?", "-q", folder=tmp_path, base=base)
        assert done.returncode == exits.DONE, done.stderr
        assert ("in this process" in done.stderr) is base
        texts.add(done.stdout)
    (text,) = texts
    assert "DY1819" in text
    assert list(tmp_path.iterdir()) == []


def counted(text: str) -> list[str]:
    """Return what the demo prints, without times, and without what a line's width cuts."""
    shown, _, tables = text.partition("handed on")
    lines = [re.sub(r"(✓ \w+) .*", r"\1", line) for line in shown.splitlines()]
    carried, _, totals = tables.partition("time, ms")
    lines += [" ".join(line.split()[:7]) for line in carried.splitlines()[1:]]
    return [*lines, totals.partition("notebook:")[2].rpartition(" · ")[0]]


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_prints_on_any_day(tmp_path: Path) -> None:
    done = run("demo", folder=tmp_path)
    assert done.returncode == exits.DONE, done.stderr
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("as it streams:\n\n```\n")[2].partition("```")[0]
    assert counted(done.stdout) == counted(shown)


@pytest.mark.slow
def test_a_pipeline_is_checked_explained_and_drawn_without_extras(tmp_path: Path) -> None:
    copied = run("demo", "--copy", "desk", folder=tmp_path, base=True)
    assert copied.returncode == exits.DONE
    assert 'it needs: pip install "codec-agents[server]"' in copied.stderr
    for command in ("check", "explain", "graph"):
        done = run(command, "desk/travel_desk.yaml", "--json", folder=tmp_path, base=True)
        assert done.returncode == exits.DONE, done.stdout
        assert json.loads(done.stdout)
    ran = run("run", "desk/travel_desk.yaml", "-i", "question=x", "--json", folder=tmp_path, base=True)
    assert ran.returncode == exits.ENGINE_FAILED
    assert 'pip install "codec-agents[server]"' in json.loads(ran.stdout)["error"]["message"]


def test_a_copy_is_not_written_over_something(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    done = run("demo", "--copy", "desk", folder=tmp_path)
    assert done.returncode == exits.DATA_UNUSABLE
    assert "does not exist yet" in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["From Lisbon"], "QUESTION"),
        (["--json"], "--json"),
        (["--record", "run.jsonl"], "--record"),
        (["--real"], "--real"),
    ],
)
def test_options_that_a_copy_would_ignore_are_refused(options: list[str], named: str) -> None:
    done = CliRunner().invoke(main, ["demo", "--copy", "desk", *options])
    assert done.exit_code == exits.USAGE
    assert f"leave out {named}" in done.output


def test_a_durability_without_a_record_is_refused() -> None:
    done = CliRunner().invoke(main, ["demo", "--durability", "disk"])
    assert done.exit_code == exits.USAGE
    assert "--durability needs --record" in done.output
