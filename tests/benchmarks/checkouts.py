"""Compare this checkout with an older one: `python -m tests.benchmarks.checkouts OLD [--rounds 15]`.

Both run the same program, each in a process of its own, by turns. Times are the best of a process; a row
shows the medians over the rounds and their ratio, which is to be at most 1.05. Python calls are counted
once: they do not depend on the machine.

`--instructions` counts instructions instead of taking times, with valgrind, which has to be installed. It
takes a minute a row, and gives nearly the same on a busy machine as on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("checkout_worker.py")
MOST = 1.05
REPEATED = {
    "a run of 1 node": 40,
    "a run of 10 nodes": 8,
    "a run of 1,000 frames": 2,
    "a build of 10 nodes": 2,
}
"""Rows of which instructions are counted, and how often the work is repeated for that."""
IMPORTED = {"import codec_agents": "codec_agents", "import codec_agents.testing": "codec_agents.testing"}


BYTECODE = tempfile.TemporaryDirectory(prefix="checkouts-")
"""Where both checkouts keep their bytecode: an import that compiles takes several times as long."""


def environment_of(checkout: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    fixed = {"PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": BYTECODE.name}
    return {**kept, **fixed, "PYTHONPATH": str(checkout)}


def measure(checkout: Path, what: str) -> dict[str, float]:
    command = [sys.executable, str(WORKER), what]
    environment = environment_of(checkout)
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def instructions(checkout: Path) -> dict[str, float]:
    """Return thousands of instructions, by row."""
    # A plain interpreter, which is taken off the imports, has imported what every program has.
    plain = counted(checkout, ["-c", "pass"])
    found = {row: counted(checkout, ["-c", f"import {name}"]) - plain for row, name in IMPORTED.items()}
    for row, repeated in REPEATED.items():
        program = [str(WORKER), "instructions", row, str(repeated)]
        found[row] = counted(checkout, program, "--instr-atstart=no") / repeated
    return found


def counted(checkout: Path, program: list[str], *options: str) -> float:
    """Return the thousands of instructions of a program, as callgrind counts them."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", *options]
        done = subprocess.run(
            [*command, sys.executable, *program],
            cwd=checkout,
            env=environment_of(checkout),
            capture_output=True,
            text=True,
            check=True,
        )
    told = re.search(r"Collected : (\d+)", done.stderr)
    assert told is not None, done.stderr
    return int(told[1]) / 1000


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
    parser.add_argument("--instructions", action="store_true", help="count instructions, with valgrind")
    options = parser.parse_args()
    old = options.old.resolve()
    reached = show("Python calls", measure(old, "counts"), measure(HERE, "counts"), 1.0)
    if options.instructions:
        reached = show("thousands of instructions", instructions(old), instructions(HERE), MOST) and reached
        return 0 if reached else 1
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
