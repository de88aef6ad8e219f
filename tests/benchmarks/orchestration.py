"""What orchestration costs, beside the graph frameworks: `python -m tests.benchmarks orchestration`.

Each framework runs in a process of its own (the peers in an environment of their own), and they take turns.
A peer that cannot be installed is named and left out. Medians: compare ratios of one run, not figures of two.

The limit of a row is 0.8 of the best framework, or 1.3 of `queues`, a bare asyncio program of the same
shape, whichever is more; on the scripted engine for tests as well. Ids and imports have limits of their own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.orchestration_peers import PEER_MODULES, PEERS
from tests.benchmarks.peers import Interpreter
from tests.benchmarks.rows import spell

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-peers" / "orchestration"
PACKAGES = {
    "pydantic": "pydantic-ai-slim",
    "haystack": "haystack-ai",
    "langgraph": "langgraph",
    "openai-agents": "openai-agents",
}
REPETITIONS = 3
RUNS = 1000

OF_THE_BEST, OF_QUEUES = 0.8, 1.3
US_AN_ID = {8: 1e-6, 1: 3e-6}
SCRIPTED = "ours, scripted engine"
IMPORT_SECONDS = 0.25


def peers_python() -> Path:
    """Return the peers' interpreter: `ORCHESTRATION_PYTHON`, or one made on demand from the package index."""
    given = os.environ.get("ORCHESTRATION_PYTHON")
    if given:
        return Path(given)
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        for package in PACKAGES.values():
            print(f"installing {package} into {ENVIRONMENT}", file=sys.stderr)
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=False)
    return python


class Worker:
    """One framework in a process of its own."""

    def __init__(self, name: str, python: str | Path) -> None:
        self.name = name
        self._interpreter = Interpreter(python, "orchestration_worker.py", name)
        self.close = self._interpreter.close

    def ask(self, **request: Any) -> Any:
        """Return what the worker measured."""
        answer = self._interpreter.ask(**request)
        if "error" in answer:
            raise RuntimeError(f"{self.name} cannot be measured: {answer['error']}")
        return answer["value"]


def installed(python: Path) -> dict[str, str]:
    """Return the versions of the peers that are there, and say which are not."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    found = {}
    for name, package in PACKAGES.items():
        asked = subprocess.run([python, "-c", code, package], capture_output=True, text=True, check=False)
        if asked.returncode:
            print(f"{package} is not installed: it is left out")
        else:
            found[name] = asked.stdout.strip()
    return found


@contextmanager
def workers(python: Path, peers: Iterator[str] | dict[str, str]) -> Iterator[dict[str, Worker]]:
    """Start all frameworks."""
    with ExitStack() as stack:
        started = {"ours": Worker("ours", sys.executable), "queues": Worker("queues", sys.executable)}
        started |= {name: Worker(name, python) for name in peers}
        for worker in started.values():
            stack.callback(worker.close)
        yield started


def in_turns(contestants: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Return what each contestant measured, again and again, one after the other."""
    found: dict[str, list[Any]] = {name: [] for name in contestants}
    for _ in range(REPETITIONS):
        for name, measure in contestants.items():
            found[name].append(measure())
    return found


def medians(contestants: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median of each contestant."""
    return {name: statistics.median(values) for name, values in in_turns(contestants).items()}


def limit_of(found: dict[str, float]) -> float:
    """Return the limit that the others of a row set."""
    best = min((value for name, value in found.items() if name in PACKAGES), default=0.0)
    return max(OF_THE_BEST * best, OF_QUEUES * found["queues"])


def report(row: str, found: dict[str, float], limit: float | None, show: Callable[[float], str]) -> bool:
    """Print one row; tell whether its limit is kept."""
    ours = found["ours"]
    others = [
        f"{name} {show(value)} ({value / ours:.2f}x)" for name, value in found.items() if name != "ours"
    ]
    kept = limit is None or max(ours, found.get(SCRIPTED, 0.0)) <= limit
    verdict = "" if limit is None else f"  [{'reached' if kept else 'MISSED'}: {show(limit)}]"
    print(f"{row}: {show(ours)}; {', '.join(others)}{verdict}", flush=True)
    return kept


def node_row(started: dict[str, Worker], nodes: int) -> bool:
    """A run of a chain, input and sink included, divided by its model nodes."""

    def a_node(worker: Worker, **options: Any) -> Callable[[], float]:
        runs = 20 if worker.name in PACKAGES else 200
        return lambda: worker.ask(measure="node", nodes=nodes, runs=runs, **options) / nodes

    asks = {name: a_node(worker) for name, worker in started.items()}
    asks[SCRIPTED] = a_node(started["ours"], scripted=True)
    found = medians(asks)
    return report(f"a node, chain of {nodes}", found, limit_of(found), spell)


def id_row(started: dict[str, Worker], size: int, hops: int) -> bool:
    """Streamed ids and hops; peers have one token a chunk and one hop, whatever ours have."""

    def an_id(worker: Worker) -> Callable[[], float]:
        if worker.name == "ours":
            return lambda: worker.ask(measure="id", frames=2000, size=size, hops=hops) / hops
        return lambda: worker.ask(measure="id", frames=500, size=1)

    compared = started if size == hops == 1 else {"ours": started["ours"]}
    row = f"a streamed id and hop, {size} a frame, {hops} model node(s)"
    return report(
        row, medians({name: an_id(worker) for name, worker in compared.items()}), US_AN_ID[size], spell
    )


def many_rows(python: Path, peers: dict[str, str]) -> Iterator[bool]:
    """Runs at once, each waiting after its first ids; a fresh process each, so that memory is not reused."""

    def start(name: str) -> dict[str, float]:
        options = {"scripted": True} if name == SCRIPTED else {}
        known = "ours" if name == SCRIPTED else name
        worker = Worker(known, python if name in PACKAGES else sys.executable)
        try:
            found: dict[str, float] = worker.ask(measure="many", runs=RUNS, **options)
            return found
        finally:
            worker.close()

    found = in_turns({name: lambda n=name: start(n) for name in ("ours", SCRIPTED, "queues", *peers)})
    kilobytes = {name: statistics.median(each["kilobytes"] for each in all_) for name, all_ in found.items()}
    seconds = {name: statistics.median(each["seconds"] for each in all_) for name, all_ in found.items()}
    yield report(f"a paused run of {RUNS}", kilobytes, limit_of(kilobytes), lambda kb: f"{kb:.1f} KB")
    yield report(f"{RUNS} runs started, first ids of all", seconds, limit_of(seconds), spell)


def import_row(python: Path, peers: dict[str, str]) -> bool:
    """Processor time of an import in a new interpreter; what runs pipelines is loaded on the first build."""
    code = "import time; s = time.process_time(); import {}; print(time.process_time() - s)"

    def load(interpreter: str | Path, modules: str) -> Callable[[], float]:
        command = [interpreter, "-c", code.format(modules)]
        return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    asks = {"ours": load(sys.executable, "codec_agents")}
    asks["ours, with what builds and runs"] = load(
        sys.executable, "codec_agents.compiler.compiler, codec_agents.runtime.run"
    )
    asks |= {name: load(python, PEER_MODULES[name]) for name in peers}
    found = medians(asks)
    limit = min(IMPORT_SECONDS, found.get("pydantic", 1.0) / 2)
    return report("import", found, limit, spell)


def main() -> bool:
    """Measure and print all rows; tell whether every limit is kept."""
    python = peers_python()
    peers = {name: version for name, version in installed(python).items() if name in PEERS}
    print(f"python {sys.version.split()[0]}; " + ", ".join(f"{PACKAGES[n]} {v}" for n, v in peers.items()))
    outcomes = [import_row(python, peers)]
    with workers(python, peers) as started:
        outcomes += [node_row(started, nodes) for nodes in (1, 2, 10)]
        outcomes += [id_row(started, size, hops) for size in (8, 1) for hops in (1, 3)]
    outcomes += many_rows(python, peers)
    return all(outcomes)
