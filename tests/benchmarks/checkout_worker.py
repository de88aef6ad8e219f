"""Measures one checkout in a process of its own; `checkouts` compares two. Uses public names alone.

    python checkout_worker.py counts | times           prints one JSON object
    python checkout_worker.py instructions ROW TIMES    to be run under callgrind, which is told when to count

Started with the checkout's root as its working directory.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

started = time.perf_counter()
import codec_agents  # noqa: E402 - the import is what is measured
from codec_agents import Chat, Pipeline  # noqa: E402
from codec_agents.testing import ScriptedEngine, ScriptedModel  # noqa: E402

IMPORTED = time.perf_counter() - started

from codec_agents.vocabularies import bundled_map  # noqa: E402
from codec_core import (  # noqa: E402
    BPETokenizer,
    Detokenizer,
    ToolWatcher,
    Translator,
)

MARKERS = ("<|im_start|>", "<|im_end|>")
TEXT = "Seventeen quiet herons stood in the reeds, and none of them said a word. " * 40


def chain_of(nodes: int, engine: Any) -> Pipeline:
    """Return an input, so many models in a row, and a sink."""
    pipeline = Pipeline("chain").input("q").sink("out", text=False)
    names = [f"n{number}" for number in range(nodes)]
    for name in names:
        pipeline.model(name, engine=engine, map="demo/words", prompt=Chat(user="{text}"), model="m")
    for source, target in zip(["q", *names], [*names, "out"], strict=True):
        pipeline.connect(source, target)
    return pipeline


def engine_of(words: int) -> ScriptedEngine:
    return ScriptedEngine(ScriptedModel(script=lambda _: "word " * words, ids_a_frame=1))


def counted(work: Callable[[], object]) -> int:
    """Return the number of Python calls that a piece of work makes."""
    calls = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def run_calls(nodes: int, words: int) -> int:
    """Return the Python calls of one run, after one run that fills the caches."""
    pipeline = chain_of(nodes, engine_of(words))

    async def main() -> int:
        await pipeline.invoke({"q": "hello"})
        calls = 0

        def note(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(note)
        try:
            await pipeline.invoke({"q": "hello"})
        finally:
            sys.setprofile(None)
        return calls

    return asyncio.run(main())


def build_calls(nodes: int) -> int:
    chain_of(nodes, engine_of(1)).build()
    pipeline = chain_of(nodes, engine_of(1))
    return counted(pipeline.build)


def counts() -> dict[str, float]:
    return {
        "calls per frame": (run_calls(1, 500) - run_calls(1, 100)) / 400,
        "calls per node": (run_calls(11, 4) - run_calls(1, 4)) / 10,
        "calls per build of 10 nodes": build_calls(10),
    }


def timed(work: Callable[[], object], times: int) -> float:
    """Return the best processor time of a piece of work, in microseconds: other work only adds to it."""
    best = float("inf")
    for _ in range(times):
        begin = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - begin)
    return best / 1000


def times() -> dict[str, float]:
    words, bytes_map = bundled_map("demo/words"), bundled_map("demo/bytes")
    tokenizer, ids = BPETokenizer(words), BPETokenizer(words).encode(TEXT)
    translator_ids = BPETokenizer(bytes_map).encode(TEXT[:500])
    runs = {nodes: chain_of(nodes, engine_of(4)) for nodes in (1, 10)}
    stream = chain_of(1, engine_of(1000))
    found: dict[str, float] = {"import, ms": IMPORTED * 1000}

    def invoke(pipeline: Pipeline) -> Callable[[], object]:
        return lambda: loop.run_until_complete(pipeline.invoke({"q": "hello"}))

    loop = asyncio.new_event_loop()
    try:
        found["a run of 1 node"] = timed(invoke(runs[1]), 60)
        found["a run of 10 nodes"] = timed(invoke(runs[10]), 30)
        found["a run of 1,000 frames"] = timed(invoke(stream), 8)
    finally:
        loop.close()
    found["a build of 10 nodes"] = timed(lambda: chain_of(10, engine_of(1)).build(), 8)
    found["encode 3 KB"] = timed(lambda: tokenizer.encode(TEXT), 20)
    found["detokenize 3 KB"] = timed(lambda: Detokenizer(words).render(ids), 20)
    found["translate 500 bytes"] = timed(lambda: Translator(bytes_map, words).translate(translator_ids), 20)
    watcher_ids = ids * 4
    found["watch 3,000 ids"] = timed(lambda: ToolWatcher(words, *MARKERS).feed(watcher_ids), 20)
    return found


def instructions(row: str, repeated: int) -> None:
    """Do a row's work so many times between two words to callgrind, after it has filled the caches.

    Nothing that was there before is looked at by the garbage collector.
    """
    loop = asyncio.new_event_loop()
    ran = {"a run of 1 node": (1, 4), "a run of 10 nodes": (10, 4), "a run of 1,000 frames": (1, 1000)}
    if row == "a build of 10 nodes":
        work: Callable[[], object] = lambda: chain_of(10, engine_of(1)).build()  # noqa: E731
    else:
        pipeline = chain_of(ran[row][0], engine_of(ran[row][1]))
        work = lambda: loop.run_until_complete(pipeline.invoke({"q": "hello"}))  # noqa: E731
    for _ in range(3):
        work()
    gc.collect()
    gc.freeze()
    _tell_callgrind("on")
    for _ in range(repeated):
        work()
    _tell_callgrind("off")
    loop.close()


def _tell_callgrind(whether: str) -> None:
    command = ["callgrind_control", "-i", whether, str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    assert codec_agents.__file__ is not None
    if sys.argv[1] == "instructions":
        instructions(sys.argv[2], int(sys.argv[3]))
    else:
        print(json.dumps(counts() if sys.argv[1] == "counts" else times()))
