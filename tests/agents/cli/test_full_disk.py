"""A full disk: every command names what it could not write, and leaves no half of it behind."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main
from codec_agents.cli.approval import suspend
from tests.agents.cli.test_mistakes import SOUND

resource = pytest.importorskip("resource", reason="limits of a process are POSIX")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Allow files of so many bytes: the system refuses to write more, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound.yaml").write_text(SOUND)
    (tmp_path / "all.tiktoken").write_text(
        "".join(f"{bytes_of(number)} {number}\n" for number in range(256)), encoding="ascii"
    )
    return tmp_path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device /dev/full is of Linux")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_for_a_full_output_is_an_error_and_no_traceback(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        errors = io.StringIO()
        patched.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        patched.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert ended.value.code == exits.DATA_UNUSABLE
    assert errors.getvalue().startswith("error: cannot use the output: No space left")


def bytes_of(number: int) -> str:
    return base64.b64encode(bytes([number])).decode()


def call(*arguments: str, size: int) -> Result:
    with room_for(size):
        return CliRunner().invoke(main, arguments)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def said(result: Result) -> str:
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == exits.DATA_UNUSABLE
    return " ".join(result.stderr.split())


def test_a_map_stays_as_it_was(folder: Path) -> None:
    (folder / "m.json").write_text("before")
    build = ("maps", "build", "all.tiktoken", "--id", "a/b", "--pattern", r"\s+|\S+", "-o", "m.json")
    assert "cannot use m.json: File too large; free some space" in said(call(*build, size=100))
    assert (folder / "m.json").read_text() == "before"
    assert names(folder) == ["all.tiktoken", "m.json", "sound.yaml"]


def test_a_pause_that_was_resumed_stays_where_the_next_one_has_no_room(folder: Path) -> None:
    (folder / "p.json").write_text("before")
    waiting: Any = SimpleNamespace(pause=SimpleNamespace(to_json=lambda: "x" * 200), pending=[])
    with room_for(100), pytest.raises(OSError, match="File too large"):
        suspend(waiting, Path("sound.yaml"), Path("p.json"), as_json=True)
    assert (folder / "p.json").read_text() == "before"
    assert names(folder) == ["all.tiktoken", "p.json", "sound.yaml"]


def test_init_names_the_file(folder: Path) -> None:
    assert "cannot use new/pipeline.yaml: File too large" in said(call("init", "new", size=100))
    assert names(folder / "new") == []


WRITERS = {
    "graph": ("graph", "sound.yaml", "-o", "old.svg"),
    "schema": ("schema", "-o", "old.svg"),
    "trace": ("trace", "run.jsonl", "--html", "old.svg"),
}


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_that_cannot_be_replaced_stays_as_it_was(folder: Path, command: str) -> None:
    assert (
        CliRunner().invoke(main, ["run", "sound.yaml", "-i", "q=1", "--record", "run.jsonl"]).exit_code == 0
    )
    (folder / "old.svg").write_text("before")
    assert "cannot use old.svg: File too large; free some space" in said(call(*WRITERS[command], size=100))
    assert (folder / "old.svg").read_text() == "before"
    assert names(folder) == ["all.tiktoken", "old.svg", "run.jsonl", "sound.yaml"]


def test_a_copy_of_the_demo_names_the_file(folder: Path) -> None:
    copied = call("demo", "--copy", "copy", size=100)
    assert "cannot use copy/data/climate.csv: File too large" in said(copied)


def test_a_trace_does_not_hide_why_the_run_failed(folder: Path) -> None:
    result = call("run", "sound.yaml", "-i", "q=1", "--trace", "t.html", size=100)
    assert "cannot write the record t.record.tmp any further: File too large" in said(result)
    assert names(folder) == ["all.tiktoken", "sound.yaml"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["--json", pytest.param("--quiet", marks=pytest.mark.slow)])
def test_a_full_output_is_one_message(folder: Path, option: str) -> None:
    command = [sys.executable, "-m", "codec_agents.cli", "run", "sound.yaml", "-i", "q=1", option]
    # What is not written is kept, and written again while Python ends.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered
        )
    assert ended.returncode == exits.DATA_UNUSABLE
    assert ended.stderr.strip() == (
        "error: cannot use the output: No space left on device; free some space, or write to another place"
    )
