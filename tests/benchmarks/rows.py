"""Measure rows: the contestants of a row take turns, and medians of their processor time are compared.

Processor time, because these operations wait for nothing, and other work on the machine must not count.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

REPETITIONS = 7


@dataclass
class Row:
    """One operation: how long each contestant takes for one unit of it.

    Attributes:
        name: the operation, with its unit.
        ours: run the operation once, timed inside, and return seconds per unit.
        peers: the same, by the name of the peer.
        bar: what has to be reached: the peer's time over ours, by peer.
        limit: seconds per unit that have to be kept, where the bar is no ratio.
    """

    name: str
    ours: Callable[[], float]
    peers: dict[str, Callable[[], float]] = field(default_factory=dict)
    bar: dict[str, float] = field(default_factory=dict)
    limit: float | None = None


def timed(operation: Callable[[], object], units: int = 1) -> Callable[[], float]:
    """Return a contestant that runs an operation of so many units."""

    def run() -> float:
        started = time.process_time()
        operation()
        return (time.process_time() - started) / units

    return run


def measure(row: Row, repetitions: int = REPETITIONS) -> dict[str, float]:
    """Return the median seconds per unit of every contestant, measured in turns."""
    contestants = {"ours": row.ours, **row.peers}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for _ in range(repetitions):
        for name in order:
            gc.collect()
            seconds[name].append(contestants[name]())
        order.append(order.pop(0))  # nobody is always the first to touch what all of them read
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def report(row: Row) -> bool:
    """Measure and print one row; tell whether its bars are reached."""
    medians = measure(row)
    ours = medians.pop("ours")
    cells = [f"{peer} {seconds / ours:.2f}x ({spell(seconds)})" for peer, seconds in medians.items()]
    reached = all(medians[peer] / ours >= bar for peer, bar in row.bar.items() if peer in medians)
    reached = reached and (row.limit is None or ours <= row.limit)
    bars = [f"{bar}x {peer}" for peer, bar in row.bar.items()]
    if row.limit is not None:
        bars.append(f"under {spell(row.limit)}")
    verdict = "reached" if reached else "MISSED"
    told = f"  [{verdict}: {' and '.join(bars)}]" if bars else ""
    print(
        "; ".join([f"{row.name}: {spell(ours)}", *([", ".join(cells)] if cells else [])]) + told, flush=True
    )
    return reached


def spell(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
