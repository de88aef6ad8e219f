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
LATEST = 2.5
"""Seconds after which the run would have ended by itself."""


def soak(kills: int, seed: int) -> bool:
    """Kill runs; return True if each could be recovered to the right answer, or had recorded nothing."""
    draw = random.Random(seed)
    found: Counter[str] = Counter()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    held = Held("this process")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        for number in range(kills):
            held.sample(number / kills)
            record, after = Path(folder, f"{number}.jsonl"), Path(folder, f"{number}.after.jsonl")
            process = subprocess.Popen(
                [*COMMAND, "run", PIPELINE, "-i", "question=why", "-q", "--record", record],
                cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(draw.uniform(0.3, LATEST))
            process.kill()
            process.wait()
            if not record.exists() or not record.stat().st_size:
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
    return held.is_flat() and set(found) <= {"nothing recorded yet", "recovered", "ended before"}


def _outcome(recovered: subprocess.CompletedProcess[str]) -> str:
    if recovered.returncode == 0:
        return "recovered" if EXPECTED in recovered.stdout else "recovered to another answer"
    if "Traceback" in recovered.stderr:
        return "ended in a traceback"
    if "ended" in recovered.stderr or "finished" in recovered.stderr or "complete" in recovered.stderr:
        return "ended before"
    return f"refused: {recovered.stderr.strip().splitlines()[-1][:120]}"
