"""The page, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from codec_agents.trace import read_runs, write_page

WriteChain = Callable[..., None]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BROWSER_SECONDS = 40


def _page(tmp_path: Path, *records: Path) -> Path:
    page = tmp_path / "page.html"
    write_page(page, read_runs(records))
    return page


def _rendered(page: Path, tmp_path: Path) -> str:
    """Return the document after the page's script ran, without a network."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed; on Debian: apt-get install chromium")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--proxy-server=127.0.0.1:9"]
    command += ["--virtual-time-budget=4000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=BROWSER_SECONDS, check=True)
    return done.stdout.decode()


def _body(document: str) -> str:
    """Leave out the scripts, which hold the data themselves."""
    return re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_the_page_stands_alone(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl")
    html = _page(tmp_path, tmp_path / "a.jsonl").read_text()
    assert not re.search(r"(src|href)\s*=|@import|url\(|https?://(?!www\.w3\.org)", html)


def test_content_cannot_leave_its_place(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", said="</script><script>document.title='forged'</script>")
    html = _page(tmp_path, tmp_path / "a.jsonl").read_text()
    assert html.count("<script") == 2
    assert html.count("</script>") == 2


def test_a_browser_shows_graph_waterfall_handoffs_and_text(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", said="Grüße aus Oslo, <b>kalt</b>.")
    body = _body(_rendered(_page(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    assert 'data-ready="1"' in body
    assert 'data-node="node001"' in body
    assert "Grüße aus Oslo, &lt;b&gt;kalt&lt;/b&gt;." in body
    assert "node000.answer → node001.text" in body
    assert "3.00 ms" in body


def test_a_browser_compares_runs(tmp_path: Path, write_chain: WriteChain) -> None:
    for name, gap in (("slow", 0.009), ("fast", 0.001)):
        write_chain(tmp_path / f"{name}.jsonl", gap=gap)
    body = _body(_rendered(_page(tmp_path, tmp_path / "slow.jsonl", tmp_path / "fast.jsonl"), tmp_path))
    assert "over the runs shown" in body
    assert "5.00 ms" in body  # the median gap of both


def test_a_browser_takes_100_nodes_and_100_000_ids(tmp_path: Path, write_chain: WriteChain) -> None:
    write_chain(tmp_path / "a.jsonl", nodes=100, ids=100_000)
    [run] = read_runs([tmp_path / "a.jsonl"])
    assert sum(len(lane.ids) for lane in run.lanes) > 95_000
    body = _body(_rendered(_page(tmp_path, tmp_path / "a.jsonl"), tmp_path))
    assert 'data-ready="1"' in body
    assert body.count("data-node=") == 102
