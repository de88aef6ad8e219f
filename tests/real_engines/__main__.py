"""Prepare, start, stop and record real engines: `python -m tests.real_engines fetch vllm`, `start vllm`, ...

`fetch` fetches and builds what an engine needs and is not there yet; where its packages do not fit this
machine it says why and ends well, and the tests skip with the same reason. `start` prints the origin.
`record` starts a server and writes what it answers to `tests/vectors/engines/`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.real_engines.kinds import PREPARE, START
from tests.real_engines.places import UnavailableError, cache_folder
from tests.real_engines.record import VERSIONS, record
from tests.real_engines.running import url_of
from tests.real_engines.servers import DidNotStartError, end_group


def fetch(name: str) -> int:
    """Prepare an engine."""
    began = time.monotonic()
    PREPARE[name]()
    print(f"{name} is ready ({time.monotonic() - began:.0f} s)")
    return 0


def start(name: str) -> int:
    """Start a server that stays until it is stopped."""
    note = cache_folder() / "running" / name
    if note.exists():
        print(f"{name} may be running already: {note.read_text()}; stop it first")
        return 1
    server = START[name]()
    began = time.monotonic()
    server.__enter__()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{server.pid} {server.url}")
    print(f"{name} {server.url} pid {server.pid}, ready after {time.monotonic() - began:.0f} s")
    print(f"log: {server.log}")
    return 0


def stop(name: str) -> int:
    """Stop a server that `start` started."""
    note = cache_folder() / "running" / name
    if not note.exists():
        print(f"{name} was not started")
        return 1
    end_group(int(note.read_text().split()[0]), lambda seconds: _until_gone(note, seconds))
    note.unlink()
    return 0


def record_answers(name: str) -> int:
    """Write anew what a server answers; git shows what changed."""
    print(record(name, url_of(name)))
    return 0


def _until_gone(note: Path, seconds: float) -> None:
    pid = int(note.read_text().split()[0])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)


def main() -> int:
    """Run one command; return 1 if it failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.real_engines", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    functions: dict[str, Callable[[str], int]] = {
        "fetch": fetch, "start": start, "stop": stop, "record": record_answers,
    }  # fmt: skip
    for command, function in functions.items():
        names = {"fetch": PREPARE, "record": VERSIONS}.get(command, START)
        commands.add_parser(command, help=function.__doc__).add_argument("name", choices=sorted(names))
    given = parser.parse_args()
    try:
        return functions[given.command](given.name)
    except UnavailableError as error:
        print(f"{given.name}: {error}")
        return 0
    except (DidNotStartError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
