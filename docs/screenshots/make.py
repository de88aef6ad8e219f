"""Make the screenshots of the trace page: `python docs/screenshots/make.py`. Needs Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "travel_desk.yaml"
QUESTIONS = (
    "Find me a cheap flight from Lisbon to Oslo on a Friday in November, and tell me what to pack.",
    "From Tokyo to London on Monday in March: what does it cost?",
)


def record(folder: Path) -> list[Path]:
    """Run the demo once for each question; return the records."""
    records = []
    for number, question in enumerate(QUESTIONS, 1):
        records.append(folder / f"run{number}.jsonl")
        command = [sys.executable, "-m", "codec_agents.cli", "run", str(EXAMPLE), "--quiet"]
        command += ["--input", f"question={question}", "--record", str(records[-1])]
        subprocess.run(command, check=True)  # noqa: S603 - a command of this project
    return records


def record_chain(folder: Path, models: int = 100) -> Path:
    """Run a chain of so many models, each of which adds to what it reads; return the record."""
    from codec_agents import Chat, Pipeline
    from codec_agents.testing import ScriptedEngine, ScriptedModel

    model = ScriptedModel(script=lambda prompt: f"{prompt.user} and on", first_id_after=0.002)
    p, before = Pipeline("chain").input("text"), "text"
    for number in range(models):
        vocabulary = ("demo/bytes", "demo/words")[number % 2]
        name = f"model{number:03}"
        p.model(name, engine=ScriptedEngine(model), map=vocabulary, prompt=Chat(user="{said}"))
        p.connect(before, f"{name}.said")
        before = name
    p.sink("reader").connect(before, "reader").invoke_sync({"text": "On"}, record=folder / "chain.jsonl")
    return folder / "chain.jsonl"


def shoot(page: Path, picture: Path, profile: Path, *, height: int = 1300, dark: bool = False) -> None:
    """Take a picture of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium is installed; on Debian: apt-get install chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", f"--window-size=1280,{height}", f"--screenshot={picture}"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
    command += ["--blink-settings=preferredColorScheme=0"] * dark
    subprocess.run([*command, page.as_uri()], check=True, capture_output=True)  # noqa: S603 - a local browser


def main() -> None:
    """Record, write the pages, take the pictures."""
    from codec_agents.trace import read_runs, write_page

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_page(folder / "page.html", read_runs(record(folder)))
        shoot(folder / "page.html", HERE / "trace.png", folder / "profile")
        write_page(folder / "chain.html", read_runs([record_chain(folder)]))
        shoot(folder / "chain.html", HERE / "chain.png", folder / "profile", height=1000, dark=True)


if __name__ == "__main__":
    main()
