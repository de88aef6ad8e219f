"""Run benchmarks: `python -m tests.benchmarks core [--growth]`."""

import argparse
import importlib
import sys

SUITES = {"core": ("tokenization", "wire"), "agents": ("orchestration", "handoff"), "engines": ("engines",)}


def main() -> int:
    """Run the suites named on the command line; return 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "suite", choices=sorted({*SUITES, *(name for names in SUITES.values() for name in names)})
    )
    parser.add_argument("--growth", action="store_true", help="also the cost from 1 KB to 4 MB")
    options = parser.parse_args()
    reached = True
    for name in SUITES.get(options.suite, (options.suite,)):
        module = importlib.import_module(f"tests.benchmarks.{name}")
        outcome = module.main(growth=True) if name == "tokenization" and options.growth else module.main()
        reached = reached and outcome is not False
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
