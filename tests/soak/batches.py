"""A batch on Ray with failures of rows, actors that are killed, and a driver that is killed.

Every key has exactly one result, and neither the driver nor the actors grow with the rows.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAILING = 10
"""One row in so many fails."""
ACTOR = b"RowActor"
PATIENCE = {"RAY_raylet_start_wait_time_s": "180", "RAY_agent_register_timeout_ms": "180000"}
"""On a busy machine Ray's processes take longer to start than Ray waits for them."""
GROWTH = 1.3
"""How much more memory a process may have in the last quarter than in the second: allocators keep some."""


def soak(rows: int, kills: int, actors: int, seed: int) -> bool:
    """Run a batch; return True if every key has its one result and the memory is flat."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with (folder / "rows.jsonl").open("w") as file:
            for number in range(rows):
                question = "break" if number % FAILING == FAILING - 1 else f"question {number}"
                file.write(json.dumps({"id": number, "question": question}) + "\n")
        watch = _Watch(folder / "out" / "results.jsonl")
        began = time.monotonic()
        at = sorted(draw.uniform(0.1, 0.9) for _ in range(kills))
        starts = 0
        while True:
            starts += 1
            process = _start(folder, actors)
            last = starts > 1  # the driver is killed once, at half of the rows
            if _follow(process, watch, rows, at, None if last else 0.5):
                break
        seconds = time.monotonic() - began
        good = _check(folder / "out", rows)
        memory = watch.report()
        print(
            f"{rows:,} rows in {seconds:,.0f} s ({rows / seconds:,.0f} rows/s), {starts} drivers, "
            f"{watch.killed} actors killed; every key once: {good}; memory in MB, second and last quarter: "
            f"{memory}",
            flush=True,
        )
        return good and watch.is_flat()


def _start(folder: Path, actors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "codec_agents.cli", "batch", str(HERE / "batch.yaml"), "-i",
         str(folder / "rows.jsonl"), "-o", str(folder / "out"), "--key", "id", "--ray", "--actors",
         str(actors), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **PATIENCE},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _follow(
    process: subprocess.Popen[bytes], watch: _Watch, rows: int, kills: list[float], driver_at: float | None
) -> bool:
    """Watch a driver until it ends or is killed; return True if it ended by itself."""
    while process.poll() is None:
        time.sleep(0.5)
        share = watch.look(process.pid) / rows
        if kills and share >= kills[0]:
            kills.pop(0)
            watch.kill_actor(process.pid)
        if driver_at is not None and share >= driver_at:
            process.kill()
            process.wait()
            return False
    if process.returncode not in (0, 1):  # 1: rows failed, as they should
        raise SystemExit(f"the driver ended with {process.returncode}")
    return True


class _Watch:
    """The lines of the results, and the memory of the driver and of the actors, over the batch."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._lines = 0
        self._offset = 0
        self.killed = 0
        self._memory: dict[str, list[tuple[int, int]]] = {"driver": [], "actor": []}

    def look(self, driver: int) -> int:
        """Return the lines so far; note the memory."""
        if self._results.exists():
            with self._results.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            self._offset += len(new)
            self._lines += new.count(b"\n")
        self._memory["driver"].append((self._lines, _resident(driver)))
        actors = [_resident(pid) for pid in _actors(driver)]
        if actors and self._lines:
            self._memory["actor"].append((self._lines, max(actors)))
        return self._lines

    def kill_actor(self, driver: int) -> None:
        """Kill one of the actors of a driver."""
        if actors := _actors(driver):
            os.kill(actors[0], signal.SIGKILL)
            self.killed += 1

    def _quarters(self, kind: str) -> tuple[int, int]:
        """Return the most memory in the second and in the last quarter: the first one fills caches."""
        samples = self._memory[kind]
        most = max((lines for lines, _ in samples), default=0)
        early = [size for lines, size in samples if most * 0.25 <= lines < most * 0.5]
        late = [size for lines, size in samples if lines >= most * 0.75]
        return max(early, default=0), max(late, default=0)

    def report(self) -> dict[str, tuple[int, int]]:
        """Return the memory of each kind of process, in MB."""
        return {
            kind: (early >> 20, late >> 20) for kind in self._memory for early, late in [self._quarters(kind)]
        }

    def is_flat(self) -> bool:
        """Return True if no kind of process grew."""
        return all(
            late <= GROWTH * early for kind in self._memory for early, late in [self._quarters(kind)] if early
        )


def _actors(driver: int) -> list[int]:
    """Return the actors whose ancestor is the driver, which has started its cluster."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_actor = ACTOR in (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if is_actor and driver in _ancestors(int(folder.name)):
            found.append(int(folder.name))
    return found


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(_status(pid).get("PPid", "0"))
        found.append(pid)
    return found


def _resident(pid: int) -> int:
    """Return the memory of a process that is its own, in bytes; Ray's shared memory does not count."""
    return int(_status(pid).get("RssAnon", "0").split()[0]) * 1024


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


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
