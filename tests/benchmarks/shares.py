"""Where the cost of a run lies: `python -m tests.benchmarks shares`.

Bytecodes are counted by the part of the program that executes them, and bytes by the part that has allocated
them; neither depends on how busy the machine is. What C code does is not in the counts, and a bytecode stands
for ten to a hundred instructions.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from tests.benchmarks.orchestration_ours import Ours

RUNS = 100
"""Runs that are held at once, for the bytes of one."""


def part_of(path: str) -> str:
    """Return the part of the program that a file belongs to, in a few words."""
    if "/codec_agents/" in path:
        return "/".join(path.split("/codec_agents/")[1].split("/")[:2]).removesuffix(".py")
    for name in ("codec_core", "anyio", "asyncio", "benchmarks"):
        if f"/{name}/" in path:
            return name
    return "other modules"


def bytecodes(counts: Counter[str]) -> Callable[[FrameType, str, Any], Any]:
    """Return a trace function that counts bytecodes by part."""

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        part = part_of(frame.f_code.co_filename)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def local(_frame: FrameType, event: str, _argument: Any) -> Any:
            counts[part] += event == "opcode"
            return local

        return local

    return trace


async def traced(work: Callable[[], Awaitable[Any]]) -> Counter[str]:
    """Return the bytecodes of some work, by part, after it has filled the caches."""
    counts: Counter[str] = Counter()
    for _ in range(3):
        await work()
    gc.collect()  # or it would be counted what collecting the runs of another row takes
    sys.settrace(bytecodes(counts))
    try:
        await work()
    finally:
        sys.settrace(None)
    return counts


async def held(scripted: bool) -> Counter[str]:
    """Return the bytes of a run that waits after its first ids, by part."""
    hold, first_spoke, all_spoke, spoke = asyncio.Event(), asyncio.Event(), asyncio.Event(), 0
    speaker = Ours().speaker(2, 1, hold, scripted=scripted)

    async def follow() -> None:
        nonlocal spoke
        async for _ in speaker():
            spoke += 1
            first_spoke.set()
            if spoke == RUNS + 1:
                all_spoke.set()

    tasks = [asyncio.create_task(follow())]
    await first_spoke.wait()  # the first run fills the caches
    gc.collect()
    tracemalloc.start()
    tasks += [asyncio.create_task(follow()) for _ in range(RUNS)]
    await all_spoke.wait()
    gc.collect()
    found = tracemalloc.take_snapshot().statistics("filename")
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return _by_part(found)


def _by_part(found: list[tracemalloc.Statistic]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for each in found:
        sizes[part_of(each.traceback[0].filename)] += each.size
    return sizes


def show(title: str, counts: Counter[str], divisor: float, unit: str) -> None:
    """Print a total and its largest parts."""
    total = counts.total()
    parts = ", ".join(f"{part} {number / total:.0%}" for part, number in counts.most_common(8))
    print(f"{title}: {total / divisor:,.0f} {unit}; {parts}", flush=True)


async def measure() -> None:
    for scripted in (False, True):
        on = "on the scripted engine" if scripted else "on ready frames"
        for nodes in (1, 10):
            counts = await traced(Ours().chain(nodes, scripted=scripted))
            show(f"a node, chain of {nodes}, {on}", counts, nodes, "bytecodes")
        show(f"a paused run, {on}", await held(scripted), RUNS, "bytes")


def main() -> None:
    """Print the shares of runs and of paused runs."""
    asyncio.run(measure())
