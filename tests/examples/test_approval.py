"""The example with approval: one process asks, another one answers, and nothing is asked twice."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "approval.py"
pytest.importorskip("uvicorn", reason="embedded engines need the extra `server`")


def run(*arguments: object) -> str:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


@pytest.mark.slow
def test_a_payment_waits_for_another_process(tmp_path):
    file = tmp_path / "waiting.json"
    asked = run("ask", file)
    assert asked.splitlines() == [
        "[clerk] reads the complaint",
        "waits for approval: refund {'order': 'A-17', 'amount': 49.9}",
    ]
    assert run("yes", file).splitlines() == [
        "[bank] 49.90 euros for A-17",
        "The order cost 49.90; the refund: paid 49.90.",
    ]
    refused = run("no", file)
    assert "[bank]" not in refused
    assert "the manager said no" in refused


def test_without_arguments_it_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: approval.py [-h] {ask,yes,no} file" in done.stderr
