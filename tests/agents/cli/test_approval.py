"""Approval on the command line: at a terminal, and over two processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from codec_agents.cli import exits

pytest.importorskip("uvicorn", reason="embedded engines need the extra `server`")

DESK = """\
pipeline: desk
engines: {own: {kind: embedded, script: "desk:cashier"}}
nodes:
  complaint: {kind: input}
  cashier: {engine: own, map: demo/bytes, prompt: "{complaint}", tools: ["desk:price", "desk:refund"]}
  reader: {kind: sink, text: true}
edges: [complaint -> cashier.complaint, cashier.answer -> reader]
"""

MODULE = """\
from pathlib import Path
from codec_agents import tool
from codec_agents.testing import Call, Say

BANK = Path(__file__).with_name("bank.txt")

@tool
def price(order: str) -> str:
    with BANK.open("a") as bank:
        bank.write("asked\\n")
    return "49.90"

@tool(approval=True)
def refund(order: str, amount: float) -> str:
    with BANK.open("a") as bank:
        bank.write(f"paid {amount}\\n")
    return "paid"

def cashier(prompt):
    if prompt.turn == 1:
        yield Call("price", order="A-17")
        yield Call("refund", order="A-17\\x1b[31m", amount=49.9)
    else:
        yield Say(" and ".join(prompt.results))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text(DESK, encoding="utf-8")
    (tmp_path / "desk.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


COMMAND = [sys.executable, "-m", "codec_agents.cli"]
RUN = ["run", "desk.yaml", "--input", "complaint=it is broken"]


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )


def at_terminal(folder: Path, answer: str, *arguments: str) -> tuple[int, str, str]:
    """Run the command with a terminal to read from and to ask on; return its code, output and questions."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        encoding="utf-8",
        start_new_session=True,
    ) as running:
        os.close(theirs)
        asked = b""
        while b"for the model]" not in asked and (more := read(ours)):
            asked += more
        os.write(ours, f"{answer}\n".encode())
        assert running.stdout is not None
        said = running.stdout.read()
        while more := read(ours):
            asked += more
        code = running.wait(timeout=50)
    os.close(ours)
    return code, said, asked.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that nobody has the other end open
        return b""


def bank(folder: Path) -> list[str]:
    return (folder / "bank.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("answer", "told", "paid"),
    [
        ("y", "49.90 and paid", True),
        pytest.param("", "was not allowed", False, marks=pytest.mark.slow),
        pytest.param("ask the manager first", "ask the manager first", False, marks=pytest.mark.slow),
    ],
)
def test_a_terminal_is_asked(folder: Path, answer: str, told: str, paid: bool) -> None:
    code, said, asked = at_terminal(folder, answer, *RUN, "--quiet")
    assert code == exits.DONE, asked
    assert told in said
    assert 'cashier wants to run refund {"order": "A-17' in asked
    assert "\x1b[31m" not in asked  # what a model writes cannot steer the terminal
    assert ("paid 49.9" in bank(folder)) == paid


@pytest.mark.slow
def test_without_a_terminal_it_says_what_would_do(folder: Path) -> None:
    done = command(folder, *RUN)
    assert done.returncode == exits.WAITING
    assert "waits for approval of 'refund'" in done.stderr
    assert "--pause FILE" in done.stderr
    document = json.loads(command(folder, *RUN, "--json").stdout)
    assert document["exit_code"] == exits.WAITING


@pytest.mark.slow
def test_a_run_is_put_down_and_taken_up_by_another_process(folder: Path) -> None:
    put_down = command(folder, *RUN, "--quiet", "--pause", "waiting.json")
    assert put_down.returncode == exits.WAITING
    assert "codec-agents resume desk.yaml waiting.json --decision yes" in put_down.stderr
    assert bank(folder) == ["asked"]
    listed = command(folder, "resume", "desk.yaml", "waiting.json")
    assert listed.returncode == exits.USAGE
    assert 'refund {"order"' in listed.stderr
    no = command(folder, "resume", "desk.yaml", "waiting.json", "-d", "not today", "--quiet")
    assert (no.returncode, no.stdout) == (exits.DONE, "49.90 and Error: not today\n")
    yes = command(folder, "resume", "desk.yaml", "waiting.json", "--decision", "yes", "--json")
    assert yes.returncode == exits.DONE
    assert json.loads(yes.stdout)["text"] == {"reader": "49.90 and paid"}
    assert bank(folder) == ["asked", "paid 49.9"]  # what had ended was not run again


@pytest.mark.slow
def test_at_a_terminal_resume_asks(folder: Path) -> None:
    command(folder, *RUN, "--pause", "waiting.json")
    code, said, asked = at_terminal(folder, "yes", "resume", "desk.yaml", "waiting.json", "--quiet")
    assert (code, said) == (exits.DONE, "49.90 and paid\n"), asked


@pytest.mark.slow
def test_a_pause_as_a_document(folder: Path) -> None:
    document = json.loads(command(folder, *RUN, "--json", "--pause", "waiting.json").stdout)
    assert document["waiting"]["pause"] == "waiting.json"
    assert [call["name"] for call in document["waiting"]["pending"]] == ["refund"]


@pytest.mark.slow
def test_what_is_no_pause_or_of_another_pipeline_is_refused(folder: Path) -> None:
    (folder / "none.json").write_text("{}", encoding="utf-8")
    assert command(folder, "resume", "desk.yaml", "none.json", "-d", "y").returncode == exits.DATA_UNUSABLE
    command(folder, *RUN, "--pause", "waiting.json")
    (folder / "desk.yaml").write_text(DESK.replace('"{complaint}"', '"So: {complaint}"'), encoding="utf-8")
    other = command(folder, "resume", "desk.yaml", "waiting.json", "-d", "y")
    assert other.returncode == exits.DATA_UNUSABLE
    assert "resume with the declaration that was paused" in other.stderr
