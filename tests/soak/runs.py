"""Many runs at once of a pipeline whose engine fails now and then; every answer is compared."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from itertools import count, takewhile

from codec_agents.exceptions import RunError
from codec_agents.pipeline import Pipeline
from codec_agents.runtime.result import RunResult
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from tests.soak import models
from tests.soak.held import MORE_DESCRIPTORS, Held

AT_ONCE = 200
ATTEMPTS = 8
"""Of 5 % that fail, so many in a row do in one of 25,000 million requests."""


WORDS = pick_tokenizer(bundled_map("demo/words"))
"""The tokenizer of the second model, whose answers are compared."""


def declared(url: str) -> Pipeline:
    """Return two models of different vocabularies on one server, the first of which fails now and then."""
    pipeline = Pipeline("soaked", policy={"retry": {"attempts": ATTEMPTS, "initial": 0.001}})
    pipeline.engine("served", kind="codec", url=url)
    pipeline.input("question").sink("reader", text=True)
    pipeline.model("planner", engine="served", model="planner", map="demo/bytes", prompt="{question}")
    pipeline.model("writer", engine="served", model="writer", map="demo/words", prompt="{draft}")
    pipeline.connect("question", "planner.question").connect("planner.answer", "writer.draft")
    return pipeline.connect("writer.answer", "reader")


@dataclass(slots=True)
class Answers:
    """The answers so far, each compared with the ids that it must have."""

    right: int = 0
    failed: int = 0
    lost: int = 0
    """Answers that are only the beginning of the right one."""
    changed: int = 0
    """Answers with other ids."""

    def take(self, number: int, result: RunResult) -> None:
        """Compare an answer, in ids and in text."""
        text = f"Dear reader: [number {number}]" + " and so on" * 30
        ids, expected = result.ids["reader"], WORDS.encode_ordinary(text)
        if ids == expected and result.text["reader"] == text:
            self.right += 1
        elif ids == expected[: len(ids)]:
            self.lost += 1
        else:
            self.changed += 1


async def soak(runs: int, seed: int, *, seconds: float | None = None) -> bool:
    """Run a pipeline many times, or for a while; return True if every answer is right and nothing is left."""
    models._draw = random.Random(seed)
    backend = ScriptedBackend.of(bundled_map("demo/bytes"), models.faulty, "planner")
    backend.add("writer", bundled_map("demo/words"), models.writer)
    answers = Answers()
    held = Held("runs", connections=2 * AT_ONCE)
    before = held.descriptors()
    begun = time.perf_counter()
    async with EmbeddedServer(create_app(backend)) as server:
        pipeline = declared(server.url)
        async with pipeline.opened():
            numbers = iter(range(runs) if seconds is None else takewhile(lambda _: going_on(), count()))

            def going_on() -> bool:
                return time.perf_counter() - begun < (seconds or 0)

            async def work() -> None:
                for number in numbers:
                    try:
                        answers.take(number, await pipeline.invoke({"question": f"number {number}"}))
                    except RunError:
                        answers.failed += 1
                    share = number / runs if seconds is None else (time.perf_counter() - begun) / seconds
                    held.sample(share, len(asyncio.all_tasks()))

            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE if seconds else min(AT_ONCE, runs)):
                    group.create_task(work())
        open_requests = server.app.exchanges.open
    tasks = len(asyncio.all_tasks())
    done = answers.right + answers.failed + answers.lost + answers.changed
    print(f"{done} runs, {AT_ONCE} at once, {models.FAULTS:.0%} of the requests fail:")
    print(
        f"  {answers.right} right, {answers.lost} with lost ids, {answers.changed} with changed ids, "
        f"{answers.failed} failed, in {time.perf_counter() - begun:.1f} s"
    )
    after = held.descriptors()
    print(f"  at the end: {open_requests} open requests, {tasks} tasks, {before} -> {after} file descriptors")
    flat = held.is_flat() and after <= before + MORE_DESCRIPTORS
    return answers.right == done and open_requests == 0 and tasks == 1 and flat
