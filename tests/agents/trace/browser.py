"""A page in a headless Chromium, as a person would see it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from codec_agents.trace import read_runs, write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BROWSER_SECONDS = 40


def page_of(tmp_path: Path, *records: Path, then: str = "") -> Path:
    """Write a page; `then` is a script that does what a person would."""
    page = tmp_path / "page.html"
    write_page(page, read_runs(records))
    if then:
        with page.open("a") as file:
            file.write(f"<script>{then}</script>")
    return page


def rendered(page: Path, tmp_path: Path, link: str = "", size: str = "1280,1600") -> str:
    """Return the document after the page's script ran, without a network; `link` follows its address."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed; on Debian: apt-get install chromium")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    command += ["--disable-component-update", f"--window-size={size}"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--proxy-server=127.0.0.1:9"]
    command += ["--virtual-time-budget=4000", "--dump-dom", page.as_uri() + link]
    done = subprocess.run(command, capture_output=True, timeout=BROWSER_SECONDS, check=True)
    return done.stdout.decode()


def body_of(document: str) -> str:
    """Leave out the scripts, which hold the data themselves."""
    return re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)
