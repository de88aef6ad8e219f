"""A recorded run is killed at any moment, and recovered from its record."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.soak.held import Held
from tests.soak.served import HERE, PIPELINE

COMMAND = (sys.executable, "-m", "codec_agents.cli")
EXPECTED = "Dear reader: [why]" + " and so on" * 30
BEFORE = 0.05
"""Share of the kills at the very beginning, when the record may hold nothing."""
AFTER_A_LINE = 0.02
"""Seconds at most between a line of the record and the kill: several lines of ids at this pace."""


def soak(kills: int, seed: int) -> bool:
    """Kill runs; return True if each could be recovered to the right answer, or had recorded nothing.

    The moments are spread over the length of the record, not over time: on a busy machine a run may take
    that long to begin.
    """
    draw = random.Random(seed)
    found: Counter[str] = Counter()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    held = Held("this process")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        whole = Path(folder, "whole.jsonl")
        subprocess.run(_run(whole), cwd=HERE, env=environment, stdout=subprocess.DEVNULL, check=True)
        for number in range(kills):
            held.sample(number / kills)
            record, after = Path(folder, f"{number}.jsonl"), Path(folder, f"{number}.after.jsonl")
            process = subprocess.Popen(
                _run(record), cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            length = draw.uniform(-BEFORE, 1) * _size(whole)
            while process.poll() is None and _size(record) < length:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, AFTER_A_LINE))
            process.kill()
            process.wait()
            if not _size(record):
                found["nothing recorded yet"] += 1
                continue
            recovered = subprocess.run(
                [*COMMAND, "record", "recover", record, PIPELINE, "--record", after],
                cwd=HERE, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=120,
            )  # fmt: skip
            found[_outcome(recovered)] += 1
    print(
        f"{kills} kills: " + ", ".join(f"{count} {what}" for what, count in found.most_common()), flush=True
    )
    right = set(found) <= {"nothing recorded yet", "recovered", "ended before"}
    return held.is_flat() and right and found["recovered"] >= kills / 2


def _run(record: Path) -> list[str | Path]:
    return [*COMMAND, "run", PIPELINE, "-i", "question=why", "-q", "--record", record]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _outcome(recovered: subprocess.CompletedProcess[str]) -> str:
    if recovered.returncode == 0:
        return "recovered" if EXPECTED in recovered.stdout else "recovered to another answer"
    if "Traceback" in recovered.stderr:
        return "ended in a traceback"
    if "ended" in recovered.stderr or "finished" in recovered.stderr or "complete" in recovered.stderr:
        return "ended before"
    return f"refused: {recovered.stderr.strip().splitlines()[-1][:120]}"
