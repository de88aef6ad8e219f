"""Memory, file descriptors and tasks of a process over a soak, and whether they stay flat."""

from __future__ import annotations

import os
from pathlib import Path

SAMPLES = 40
GROWTH, SLACK = 1.15, 24.0
"""How much more memory there may be in the last quarter than in the second: a share, and megabytes. The first
quarter fills caches, and allocators keep some."""
MORE_DESCRIPTORS = 8
"""Connections that come and go make some more or less."""


class Held:
    """Samples of one process, by the share of the soak that is over."""

    def __init__(
        self, name: str, pid: int | str = "self", *, connections: int = 0, in_use: float = 0
    ) -> None:
        """Begin.

        Args:
            name: of the process, as it is printed.
            pid: of the process.
            connections: how many may be open at one time and not at another.
            in_use: megabytes that it may hold at any time, such as the bodies of requests.
        """
        self._name = name
        self._in_use = in_use
        self._more = connections + MORE_DESCRIPTORS
        self._pid = pid
        self._samples: list[tuple[float, float, int, int]] = []

    def sample(self, share: float, tasks: int = 0) -> None:
        """Note what is held now, where enough time has passed since the sample before."""
        if self._samples and share - self._samples[-1][0] < 1 / SAMPLES:
            return
        self._samples.append((share, self._megabytes(), self.descriptors(), tasks))

    def is_flat(self) -> bool:
        """Print what was held at the beginning and the end; return True if it has not grown."""
        early = [each for each in self._samples if 0.25 <= each[0] < 0.5] or self._samples[:1]
        late = [each for each in self._samples if each[0] >= 0.75] or self._samples[-1:]
        memory = [max(each[1] for each in some) for some in (early, late)]
        descriptors = [max(each[2] for each in some) for some in (early, late)]
        flat = (
            memory[1] <= max(memory[0] * GROWTH + SLACK, self._in_use)
            and descriptors[1] <= descriptors[0] + self._more
        )
        first, last = self._samples[0], self._samples[-1]
        print(
            f"  {self._name}: memory {first[1]:.0f} -> {last[1]:.0f} MB (most of the second and the last "
            f"quarter: {memory[0]:.0f} and {memory[1]:.0f}), file descriptors {first[2]} -> {last[2]}, tasks "
            f"{first[3]} -> {last[3]}: {'flat' if flat else 'GROWN'}",
            flush=True,
        )
        return flat

    def _megabytes(self) -> float:
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def descriptors(self) -> int:
        """Return the number of open file descriptors."""
        return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))
