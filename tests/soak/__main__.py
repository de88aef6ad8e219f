"""Run the soaks: `python -m tests.soak [latency] [hostile] [runs] [kills]`, and `ray`, which needs Ray."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.soak import hostile, kills, latency, runs

PARTS = ("latency", "hostile", "runs", "kills")
ASKED_FOR = ("ray",)
"""Parts that run only when they are named: `.venv-ray/bin/python -m tests.soak ray --rows 100000`."""


def main() -> int:
    """Run the parts that are asked for; return 1 if one of them does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Long runs against servers on 127.0.0.1, which end by themselves. Each part is "
        "short by default. Times depend on what else the machine does. A part does not hold, and the "
        "exit code is 1, where an answer is wrong, ids are lost or changed, or what is held grows.",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}, ray; the first four if left out"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each attack in `latency` (default 3)")
    parser.add_argument("--target", type=float, default=100.0, help="p99 of /health, in ms (default 100)")
    parser.add_argument("--hostile-seconds", type=float, default=15.0, help="of `hostile` (default 15)")
    parser.add_argument("--runs", type=int, default=1000, help="of `runs`, 200 at once (default 1000)")
    parser.add_argument("--run-seconds", type=float, help="of `runs`, in place of a number of runs")
    parser.add_argument("--kills", type=int, default=3, help="of `kills` (default 3)")
    parser.add_argument("--rows", type=int, default=2000, help="of `ray` (default 2000)")
    parser.add_argument("--actors", type=int, default=1, help="of `ray` (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.parts) - {*PARTS, *ASKED_FOR}:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    held = {}
    for part in options.parts or PARTS:
        print(f"# {part}", flush=True)
        match part:
            case "latency":
                held[part] = latency.measure(options.seconds, options.target)
            case "hostile":
                held[part] = hostile.soak(options.hostile_seconds)
            case "runs":
                held[part] = asyncio.run(runs.soak(options.runs, options.seed, seconds=options.run_seconds))
            case "ray":
                from tests.soak import batches

                held[part] = batches.soak(options.rows, options.kills, options.actors, options.seed)
            case _:
                held[part] = kills.soak(options.kills, options.seed)
    print("; ".join(f"{part}: {'held' if good else 'NOT HELD'}" for part, good in held.items()))
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
