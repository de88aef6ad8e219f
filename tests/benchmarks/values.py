"""What values of ids cost a run, and that one without pays nothing: `python -m tests.benchmarks values`.

A model node streams one id a frame to a sink: without values, with the log probability of each id, and with
one alternative for each as well; then the same into a record. Python calls are counted and do not depend on
the machine: of a run without values, no call may be one that deals with values. Times take turns, and are
medians of processor time.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

from codec_agents import Chat, Pipeline
from codec_agents.testing import ScriptedEngine, ScriptedModel
from tests.benchmarks.rows import Row, report

IDS = 1000
OFF = "without values"
ASKED: dict[str, dict[str, int]] = {
    OFF: {},
    "with log probabilities": {"logprobs": 0},
    "with an alternative as well": {"logprobs": 1},
}
ABOUT_VALUES = ("engines/values.py", "frames/values.py", "records/logprobs.py")
"""The files that deal with values and with nothing else."""


def run_of(asked: dict[str, int], ids: int, record: Path | None) -> Callable[[], Awaitable[Any]]:
    """Return a run of one model that says so many words, a frame each."""
    engine = ScriptedEngine(ScriptedModel(script=lambda _: "word " * ids, ids_a_frame=1))
    pipeline = Pipeline("values").input("q").sink("out", text=False)
    sampling = {"max_tokens": 2 * ids, **asked}
    pipeline.model("m", engine=engine, map="demo/words", prompt=Chat(user="{q}"), sampling=sampling)
    pipeline.connect("q", "m").connect("m", "out")
    options: dict[str, Any] = {} if record is None else {"record": record}
    return lambda: pipeline.invoke({"q": "hello"}, **options)


def calls_of(run: Callable[[], Awaitable[Any]]) -> Counter[str]:
    """Return how many Python functions of each file a run calls, after one run that fills the caches."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            calls[frame.f_code.co_filename] += 1

    async def main() -> None:
        await run()
        sys.setprofile(note)
        try:
            await run()
        finally:
            sys.setprofile(None)

    asyncio.run(main())
    return calls


def timed(run: Callable[[], Awaitable[Any]]) -> Callable[[], float]:
    """Return a contestant: the seconds of processor time that a run takes for an id."""

    async def main() -> float:
        await run()
        started = time.process_time()
        await run()
        return (time.process_time() - started) / IDS

    return lambda: asyncio.run(main())


def count(folder: Path | None) -> bool:
    """Print the calls an id; tell whether a run without values has none that deal with them."""
    free = True
    for number, (name, asked) in enumerate(ASKED.items()):
        files = [
            calls_of(run_of(asked, ids, None if folder is None else folder / f"{number}-{ids}.jsonl"))
            for ids in (100, 300)
        ]
        each = (files[1].total() - files[0].total()) / 200
        about = sum(times for file, times in files[1].items() if file.endswith(ABOUT_VALUES))
        print(f"Python calls an id, {name}: {each:.1f}; {about} calls of a run of 300 deal with values")
        free = free and (name != OFF or about == 0)
    return free


def main() -> bool:
    """Print calls and times, without a record and with one; tell whether values cost nothing when off."""
    free = count(None)
    for name, asked in list(ASKED.items())[1:]:
        report(Row(f"an id, {name}", timed(run_of(asked, IDS, None)), {OFF: timed(run_of({}, IDS, None))}))
    with tempfile.TemporaryDirectory() as folder:
        print("in a record:")
        free = count(Path(folder)) and free
    print("reached" if free else "MISSED", "[a run without values calls nothing that deals with them]")
    return free
