"""The example that measures handoffs, on its own scripted endpoints."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "handoff_latency.py"


@pytest.mark.slow
def test_it_prints_a_row_a_path_and_writes_the_page(tmp_path):
    page = tmp_path / "handoff.html"
    command = [sys.executable, str(EXAMPLE), "--runs", "1", "--words", "60", "--html", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    rows = done.stdout.splitlines()[1:5]
    assert [row[:20].strip() for row in rows] == ["ids", "ids, prefill ahead", "ids, prefill auto", "text"]
    assert page.read_text().startswith("<!")
