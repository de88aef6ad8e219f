"""The bot with an MCP server that it starts itself: its tools are found, called, and keep their state."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mcp_bot.py"
pytest.importorskip("uvicorn", reason="embedded engines need the extra `server`")
pytest.importorskip("mcp", reason="the extra `mcp` is not installed")


@pytest.mark.slow
def test_the_bot_searches_lends_and_says_what_came_of_it():
    questions = [
        "Ada would like a book about arctic dreams",
        "Bob wants arctic journey",
        "Eve wants tea",
    ]
    command = [sys.executable, str(EXAMPLE), *questions]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if not line.startswith("[")]
    assert said[0] == "Arctic Dreams is lent to Ada."
    assert "all copies of 'Arctic Dreams' are lent" in said[1]
    assert said[1].endswith("The Worst Journey in the World is lent to Bob.")
    assert said[2] == "There is nothing about wants tea."
    assert done.stdout.count("[library_search] ok") == 6
    assert done.stdout.count("[library_lend] ok") == 2
    assert done.stdout.count("[library_lend] tool_error") == 1
