"""Measures one framework, in an interpreter of its own: a request a line on stdin, answers on stdout.

python orchestration_worker.py ours|queues|langgraph|pydantic|haystack|openai-agents
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the peers' interpreters do not know this package

from orchestration_peers import PEERS

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def seconds_a_run(contestant: Any, *, nodes: int, runs: int, **options: Any) -> float:
    """Return the processor seconds of one run of a chain."""
    run = contestant.chain(nodes, **options)
    for _ in range(5):
        await run()
    gc.collect()
    started = time.process_time()
    for _ in range(runs):
        await run()
    return (time.process_time() - started) / runs


async def seconds_an_id(contestant: Any, *, frames: int, size: int, **options: Any) -> float:
    """Return the processor seconds of one streamed id; the start of the run is spread over the ids."""
    follow = contestant.speaker(frames, size, None, **options)
    async for _ in follow():
        pass
    gc.collect()
    started = time.process_time()
    async for _ in follow():
        pass
    return (time.process_time() - started) / frames / size


async def many(contestant: Any, *, runs: int, **options: Any) -> dict[str, float]:
    """Start runs that wait after their first ids; return when all had spoken, and the KB of each."""
    await _start(contestant, 20, options)
    gc.collect()
    before = resident()
    seconds, held = await _start(contestant, runs, options)
    return {"seconds": seconds, "kilobytes": (held - before) / runs / 1024}


async def _start(contestant: Any, runs: int, options: dict[str, Any]) -> tuple[float, int]:
    hold, all_spoke, spoke = asyncio.Event(), asyncio.Event(), 0
    speaker = contestant.speaker(2, 1, hold, **options)

    async def follow() -> None:
        nonlocal spoke
        async for _ in speaker():
            spoke += 1
            if spoke == runs:
                all_spoke.set()

    started = time.perf_counter()
    tasks = [asyncio.create_task(follow()) for _ in range(runs)]
    await all_spoke.wait()
    seconds = time.perf_counter() - started
    gc.collect()
    held = resident()
    hold.set()
    if options.get("scripted"):  # its runs wait for a time, and not for a word
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=bool(options))
    return seconds, held


MEASURES = {"node": seconds_a_run, "id": seconds_an_id, "many": many}


def main() -> None:
    """Answer requests until stdin is closed."""
    logging.disable()
    name = sys.argv[1]
    if name == "ours":
        from orchestration_ours import Ours

        contestant: Any = Ours()
    else:
        contestant = PEERS[name]()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        measure = MEASURES[request.pop("measure")]
        try:
            answer = {"value": asyncio.run(measure(contestant, **request))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
