"""Many runs at once of a pipeline whose engine fails now and then; every answer is compared."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from pathlib import Path

from codec_agents.exceptions import RunError
from codec_agents.pipeline import Pipeline
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.vocabularies import bundled_map
from tests.soak import models

AT_ONCE = 200
ATTEMPTS = 8
"""Of 5 % that fail, so many in a row do in one of 25,000 million requests."""


def declared(url: str) -> Pipeline:
    """Return two models of different vocabularies on one server, the first of which fails now and then."""
    pipeline = Pipeline("soaked", policy={"retry": {"attempts": ATTEMPTS, "initial": 0.001}})
    pipeline.engine("served", kind="codec", url=url)
    pipeline.input("question").sink("reader", text=True)
    pipeline.model("planner", engine="served", model="planner", map="demo/bytes", prompt="{question}")
    pipeline.model("writer", engine="served", model="writer", map="demo/words", prompt="{draft}")
    pipeline.connect("question", "planner.question").connect("planner.answer", "writer.draft")
    return pipeline.connect("writer.answer", "reader")


async def soak(runs: int, seed: int) -> bool:
    """Run a pipeline many times; return True if every answer is right and nothing is left behind."""
    models._draw = random.Random(seed)
    backend = ScriptedBackend.of(bundled_map("demo/bytes"), models.faulty, "planner")
    backend.add("writer", bundled_map("demo/words"), models.writer)
    right = wrong = failed = 0
    samples: list[tuple[float, int, int]] = []
    async with EmbeddedServer(create_app(backend)) as server:
        pipeline = declared(server.url)
        async with pipeline.opened():
            numbers = iter(range(runs))
            begun = time.perf_counter()

            async def work() -> None:
                nonlocal right, wrong, failed
                for number in numbers:
                    try:
                        result = await pipeline.invoke({"question": f"number {number}"})
                    except RunError:
                        failed += 1
                        continue
                    expected = f"Dear reader: [number {number}]" + " and so on" * 30
                    right += result.text["reader"] == expected
                    wrong += result.text["reader"] != expected
                    if number % max(runs // 8, 1) == 0:
                        gc.collect()
                        samples.append((_megabytes(), _descriptors(), len(asyncio.all_tasks())))

            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, runs)):
                    group.create_task(work())
            took = time.perf_counter() - begun
        open_requests = server.app.exchanges.open
    gc.collect()
    tasks = len(asyncio.all_tasks())
    print(f"{runs} runs, {min(AT_ONCE, runs)} at once, {models.FAULTS:.0%} of the requests fail:")
    print(f"  {right} right, {wrong} wrong, {failed} failed, in {took:.1f} s")
    counts = "; ".join(f"{memory:.0f} MB {fds} {count}" for memory, fds, count in samples)
    print(f"  memory, file descriptors and tasks: {counts}")
    print(f"  after it: {_megabytes():.0f} MB, {_descriptors()} file descriptors, {tasks} tasks", flush=True)
    return right == runs and open_requests == 0 and tasks == 1


def _megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
