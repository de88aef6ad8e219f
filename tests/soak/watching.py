"""Watch a batch on Ray from outside: its rows, the memory and processor time of its processes."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from pathlib import Path

ACTOR = b"RowActor"
GROWTH = 1.3
"""How much more memory a process may have in the last quarter than in the second: allocators keep some."""
TELLS = 20
"""Lines of progress over the batch."""
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = ("driver", "actor", "others")


class Watch:
    """The lines of the results, and the memory and processor time of the driver, the actors, and Ray itself.

    Attributes:
        killed: the actors that were killed.
    """

    def __init__(self, results: Path, rows: int) -> None:
        self.killed = 0
        self._results = results
        self._rows = rows
        self._lines = 0
        self._offset = 0
        self._told = 0
        self._began = time.monotonic()
        self._memory: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
        self._seconds: dict[str, dict[int, float]] = {kind: defaultdict(float) for kind in KINDS}

    def look(self, driver: int) -> int:
        """Return the lines so far; note memory and time, and say where the batch stands now and then."""
        if self._results.exists():
            with self._results.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            self._offset += len(new)
            self._lines += new.count(b"\n")
        sizes: dict[str, list[int]] = {kind: [0] for kind in KINDS}
        for pid, kind in _processes(driver).items():
            sizes[kind].append(_resident(pid))
            self._seconds[kind][pid] = max(self._seconds[kind][pid], _seconds(pid))
        for kind in KINDS:
            if self._lines and (most := max(sizes[kind])):
                self._memory[kind].append((self._lines, most))
        if self._lines * TELLS >= self._rows * (self._told + 1):
            self._told = self._lines * TELLS // self._rows
            now = {kind: max(found) >> 20 for kind, found in sizes.items()}
            print(f"  {self._lines:,} rows in {self._elapsed():,.0f} s; memory in MB: {now}", flush=True)
        return self._lines

    def kill_actor(self, driver: int) -> bool:
        """Kill one of the actors of a driver; return False if there is none."""
        actors = [pid for pid, kind in _processes(driver).items() if kind == "actor"]
        if actors:
            os.kill(actors[0], signal.SIGKILL)
            self.killed += 1
        return bool(actors)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _quarters(self, kind: str) -> tuple[int, int]:
        """Return the most memory in the second and in the last quarter: the first one fills caches."""
        samples = self._memory[kind]
        early = [size for lines, size in samples if self._rows * 0.25 <= lines < self._rows * 0.5]
        late = [size for lines, size in samples if lines >= self._rows * 0.75]
        return max(early, default=0), max(late, default=0)

    def summary(self) -> str:
        """Return the figures of the whole batch."""
        seconds = self._elapsed()
        memory = {
            kind: f"{early >> 20} then {late >> 20}"
            for kind in KINDS
            for early, late in [self._quarters(kind)]
        }
        spent = {kind: round(sum(self._seconds[kind].values()) / self._rows * 1000, 2) for kind in KINDS}
        return (
            f"{seconds:,.0f} s ({self._rows / seconds:,.0f} rows/s); memory in MB in the second and in the "
            f"last quarter: {memory}; processor time in ms a row: {spent}"
        )

    def is_flat(self) -> bool:
        """Return True if driver and actors did not grow from the second to the last quarter."""
        quarters = [self._quarters(kind) for kind in ("driver", "actor")]
        return all(0 < late <= GROWTH * early for early, late in quarters)


def _processes(driver: int) -> dict[int, str]:
    """Return the processes of a driver, which has started its cluster, with their kinds."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        parents[int(folder.name)] = int(_status(int(folder.name)).get("PPid", "0"))
    found = {driver: "driver"}
    for pid in parents:
        above, at = set(), pid
        while at and at not in above:
            above.add(at)
            at = parents.get(at, 0)
        if driver in above and pid != driver:
            found[pid] = "actor" if ACTOR in _command(pid) else "others"
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _resident(pid: int) -> int:
    """Return the memory of a process that is its own, in bytes; Ray's shared memory does not count."""
    return int(_status(pid).get("RssAnon", "0").split()[0]) * 1024


def _seconds(pid: int) -> float:
    """Return the processor time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
