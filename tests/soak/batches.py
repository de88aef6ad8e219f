"""A batch on Ray with failures of rows, actors that are killed, and a driver that is killed.

Every key has exactly one result, each tool took effect once except where an actor died in it, and neither
the driver nor the actors grow with the rows. Prints progress, memory and processor time while it goes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from codec_agents.records.reader import read_record
from tests.soak.watching import Watch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAILING = 10
"""One row in so many fails."""
PATIENCE = {"RAY_raylet_start_wait_time_s": "180", "RAY_agent_register_timeout_ms": "180000"}
"""On a busy machine Ray's processes take longer to start than Ray waits for them."""
RECORDS_READ = 500
"""Records that are read back, of those of all rows."""
AT_ONCE = 16
"""Runs at once in an actor, as the command has it: so many calls may run again when it dies."""


def soak(rows: int, kills: int, actors: int, seed: int) -> bool:
    """Run a batch; return True if every key has its one result and the memory is flat."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with (folder / "rows.jsonl").open("w") as file:
            for number in range(rows):
                question = "break" if number % FAILING == FAILING - 1 else f"question {number}"
                file.write(json.dumps({"id": number, "question": question}) + "\n")
        watch = Watch(folder / "out" / "results.jsonl", rows)
        at = sorted(draw.uniform(0.1, 0.9) for _ in range(kills))
        starts = 0
        while True:
            starts += 1
            process = _start(folder, actors)
            last = starts > 1  # the driver is killed once, at half of the rows
            if _follow(process, watch, rows, at, None if last else 0.5):
                break
        held = {
            "every key has one result": _check(folder / "out", rows),
            "every row that did not fail has its record": _check_records(folder / "out", draw),
            "effects of tools": _check_effects(folder / "effects", rows, watch.killed),
            "the memory is flat": watch.is_flat(),
            "what was to be killed was killed": not at and starts == 2,
        }
        print(f"{rows:,} rows, {starts} drivers, {watch.killed} actors killed; {watch.summary()}")
        for said, good in held.items():
            print(f"  {'yes' if good else 'NO '}  {said}", flush=True)
        return all(held.values())


def _start(folder: Path, actors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "codec_agents.cli", "batch", str(HERE / "batch.yaml"), "-i",
         str(folder / "rows.jsonl"), "-o", str(folder / "out"), "--key", "id", "--ray", "--actors",
         str(actors), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "EFFECTS": str(folder / "effects"), **PATIENCE},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _follow(
    process: subprocess.Popen[bytes], watch: Watch, rows: int, kills: list[float], driver_at: float | None
) -> bool:
    """Watch a driver until it ends or is killed; return True if it ended by itself."""
    while process.poll() is None:
        time.sleep(0.5)
        share = watch.look(process.pid) / rows
        if kills and share >= kills[0] and watch.kill_actor(process.pid):
            kills.pop(0)
        if driver_at is not None and share >= driver_at:
            process.kill()
            process.wait()
            return False
    if process.returncode not in (0, 1):  # 1: rows failed, as they should
        raise SystemExit(f"the driver ended with {process.returncode}")
    return True


def _check(output: Path, rows: int) -> bool:
    counts: Counter[str] = Counter()
    wrong = 0
    with (output / "results.jsonl").open("rb") as file:
        for line in file:
            found = json.loads(line)
            counts[found["key"]] += 1
            fails = int(found["key"]) % FAILING == FAILING - 1
            expected = None if fails else f"the sum is 3 for question {found['key']}"
            said = found.get("text", {}).get("reader")
            wrong += (said is None) != fails or (expected is not None and expected not in said)
    return wrong == 0 and counts == {str(number): 1 for number in range(rows)}


def _check_records(output: Path, draw: random.Random) -> bool:
    """Check that each result has its record, and that some of them, drawn at random, are whole."""
    wrong, kept = 0, []
    with (output / "results.jsonl").open("rb") as file:
        for number, line in enumerate(file):
            found = json.loads(line)
            wrong += not (output / found["record"]).exists()
            if "error" in found:
                continue
            if len(kept) < RECORDS_READ:
                kept.append(found)
            elif (place := draw.randrange(number + 1)) < RECORDS_READ:
                kept[place] = found
    for found in kept:
        record = read_record(output / found["record"])
        wrong += not record.complete or record.texts() != found["text"]
    return wrong == 0


def _check_effects(effects: Path, rows: int, killed: int) -> bool:
    """Check that each call took effect, and again only as many as may have been at work at a kill."""
    counts = Counter(effects.read_bytes().split())
    print(f"  {len(counts):,} calls of tools, {counts.total() - len(counts):,} of them twice", flush=True)
    calls = rows - rows // FAILING
    return len(counts) == calls and counts.total() <= calls + (killed + 1) * AT_ONCE
