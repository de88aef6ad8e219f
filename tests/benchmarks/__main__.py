"""Run benchmarks: `python -m tests.benchmarks [core] [--growth] [--only encode]`; without a name, all."""

import argparse
import importlib
import sys

SUITES = {
    "core": ("tokenization", "wire"),
    "agents": ("dialects", "orchestration", "handoff", "overlap", "shares", "telemetry", "values"),
    "engines": ("engines",),
    "server": ("gateway",),
}
ALONE = {"real", "handoff_real", "gateway_turns"}
"""Run only by name: they start real engines, which have to be there."""

PARTED = {"tokenization", "engines", "handoff", "overlap", *ALONE}
"""Those of which a part can be run alone."""

BOUNDED = {"real": ("rounds", "results"), "handoff_real": ("rounds", "minutes")}
"""The options of those that may take long."""


def main() -> int:
    """Run the suites named on the command line; return 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    every = [name for names in SUITES.values() for name in names]
    parser.add_argument("suite", nargs="?", choices=sorted({*SUITES, *every, *ALONE}))
    parser.add_argument("--growth", action="store_true", help="tokenization: also the cost from 1 KB to 4 MB")
    parser.add_argument("--only", default="", help="of most: a part, such as encode or paced")
    parser.add_argument("--rounds", type=int, help="real, handoff_real: rounds of each part")
    parser.add_argument("--minutes", type=float, help="handoff_real: its time; 0 is no bound")
    parser.add_argument("--results", help="real: the file of what is measured, to go on from")
    options = parser.parse_args()
    reached = True
    for name in SUITES.get(options.suite, (options.suite,)) if options.suite else every:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        chosen = {"only": options.only} if name in PARTED else {}
        chosen |= {"growth": options.growth} if name == "tokenization" else {}
        given = {field: getattr(options, field) for field in BOUNDED.get(name, ())}
        chosen |= {field: value for field, value in given.items() if value is not None}
        reached = (module.main(**chosen) is not False) and reached
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
