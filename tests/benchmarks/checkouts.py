"""Compare this checkout with an older one: `python -m tests.benchmarks.checkouts OLD [--rounds 15]`.

Both run the same program, each in a process of its own, by turns. Times are the best of a process; a row
shows the medians over the rounds and their ratio, which is to be at most 1.05. Python calls are counted
once: they do not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("checkout_worker.py")
MOST = 1.05


def measure(checkout: Path, what: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, str(WORKER), what]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show(title: str, old: dict[str, float], new: dict[str, float], most: float) -> bool:
    print(f"{title:30} {'old':>10} {'new':>10} {'ratio':>7}")
    reached = True
    for name, before in old.items():
        ratio = new[name] / before
        reached = reached and ratio <= most
        print(f"{name:30} {before:10.1f} {new[name]:10.1f} {ratio:7.3f}{'' if ratio <= most else '  MISSED'}")
    return reached


def main() -> int:
    """Print both tables; return 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.checkouts", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    old = options.old.resolve()
    reached = show("Python calls", measure(old, "counts"), measure(HERE, "counts"), 1.0)
    rounds: dict[Path, list[dict[str, float]]] = {old: [], HERE: []}
    for number in range(options.rounds):
        for checkout in (old, HERE) if number % 2 else (HERE, old):
            rounds[checkout].append(measure(checkout, "times"))
    medians = [
        {name: statistics.median(each[name] for each in found) for name in found[0]}
        for found in (rounds[old], rounds[HERE])
    ]
    reached = show(f"microseconds, {options.rounds} rounds", *medians, MOST) and reached
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
