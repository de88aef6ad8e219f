"""The handoff between two real engines, vLLM and llama.cpp, with SmolLM2 on both.

    python -m tests.benchmarks real [--only 128 | 512] [--rounds 5] [--results FILE]

A writes an answer of a fixed length, B reads it. Three contestants take turns in every round: ids, ids with
`prefill: ahead`, and the text path, the `openai` client on both sides. In one round A has the same prompt
and draws nothing at random, so that it writes the same ids for all three; B's prompts begin differently, so
that none finds another's in the cache. `gap` is from A's last id (or text) to B's request: for the ids until
its body is written, for the text until the client begins to write it. Its parts are this side's: `detect`
until the end of A's answer is seen, `own` for translating and assembling, `request` for the writing; `engine`
is from there to B's first id. Figures are medians in milliseconds. Both servers and the client share this
machine: compare rows, never two runs.

Each handoff is a line of FILE when it is measured. A run that was ended goes on where it was; the table
at the end is of all lines. Delete the file to begin anew.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from codec_agents import Chat, Pipeline
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from tests.real_engines.engines import MODEL
from tests.real_engines.lengths import length, sampling
from tests.real_engines.models import smollm2_map
from tests.real_engines.places import UnavailableError, cache_folder
from tests.real_engines.running import url_of

LENGTHS, ROUNDS = (128, 512), 5
DIRECTIONS = (("llamacpp", "vllm"), ("vllm", "llamacpp"))
SYSTEM = "You write about travelling."
TASK = "Write about journey number {number}, by train, in many sentences."
READ = "Say what this is about:\n"
B_IDS = 4
CONTESTANTS = ["ids", "ids, prefill ahead", "text, openai client"]


class Handoff(NamedTuple):
    """One handoff, in seconds, and what A wrote."""

    gap: float
    first: float
    detect: float
    own: float
    request: float
    engine: float
    said: Any


Contestant = Callable[[int], Awaitable[Handoff]]


def reader(name: str) -> str:
    """Return B's system text, which begins differently for each contestant."""
    return f"{name}. {SYSTEM}"


def with_ids(a: str, b: str, ids: int, name: str, **edge: Any) -> tuple[Pipeline, Contestant]:
    """Return the pipeline, and a contestant that runs it."""
    p = Pipeline("real").input("task").sink("out", text=False)
    for node, kind, system, user, count in (
        ("a", a, SYSTEM, "{task}", ids),
        ("b", b, reader(name), READ + "{draft}", B_IDS),
    ):
        p.engine(node, kind=kind, url=url_of(kind))
        p.model(
            f"model-{node}",
            engine=node,
            model=MODEL,
            map=str(smollm2_map()),
            prompt=Chat(system=system, user=user),
            sampling=sampling(kind, count),
        )
    p.connect("task", "model-a").connect("model-a", "model-b.draft", **edge).connect("model-b", "out")

    async def hand_off(number: int) -> Handoff:
        result = await p.invoke({"task": TASK.format(number=number)})
        report, parts = result.handoffs[-1], result.handoffs[-1].parts
        own = sum(parts[part] for part in ("translate", "wait", "render", "queue"))
        said = list(result.histories["model-a"].generated)
        assert report.gap is not None
        assert report.first_id_latency is not None
        figures = (parts["detect"], own, parts["request"], parts["engine"])
        return Handoff(report.gap, report.first_id_latency, *figures, said)

    return p, hand_off


def with_text(
    clients: Mapping[str, Any], written: list[float], a: str, b: str, ids: int, name: str
) -> Contestant:
    """Return a contestant that asks both through the chat API."""

    async def read(kind: str, system: str, user: str, limit: int) -> tuple[str, list[float], float]:
        said, marks = [], []
        stream = await clients[kind].chat.completions.create(
            model=MODEL,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            stream=True,
            temperature=0.0,
            max_tokens=limit,
            extra_body=length(kind, limit),
        )
        async for part in stream:
            delta = part.choices[0].delta if part.choices else None
            if delta and (text := delta.content or getattr(delta, "reasoning", None)):
                marks.append(time.perf_counter())
                said.append(text)
        return "".join(said), marks, time.perf_counter()

    async def hand_off(number: int) -> Handoff:
        text, first, ended = await read(a, SYSTEM, TASK.format(number=number), ids)
        _, second, _ = await read(b, reader(name), READ + text, B_IDS)
        last, sent = first[-1], written[-1]
        return Handoff(sent - last, second[0] - last, ended - last, sent - ended, 0.0, second[0] - sent, text)

    return hand_off


class Measured:
    """The handoffs of a file, by direction, length and contestant; further ones are added to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rounds: dict[tuple[str, int, str], dict[int, Handoff]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            *key, number, handed = json.loads(line)
            self._of(*key)[number] = Handoff(**handed)

    def has(self, direction: str, ids: int, name: str, number: int) -> bool:
        """Return whether a round is there."""
        return number in self._of(direction, ids, name)

    def add(self, direction: str, ids: int, name: str, number: int, handed: Handoff) -> None:
        """Add a round, and write it."""
        self._of(direction, ids, name)[number] = handed
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([direction, ids, name, number, handed._asdict()]) + "\n")

    def rounds(self, direction: str, ids: int, rounds: int) -> dict[str, list[Handoff]]:
        """Return the handoffs of the contestants, round by round."""
        return {
            name: [handed for number, handed in sorted(self._of(direction, ids, name).items())][:rounds]
            for name in CONTESTANTS
        }

    def _of(self, direction: str, ids: int, name: str) -> dict[int, Handoff]:
        return self._rounds.setdefault((direction, ids, name), {})


async def measure(
    a: str, b: str, ids: int, rounds: int, clients: Mapping[str, Any], written: list[float], kept: Measured
) -> None:
    """Let the contestants take turns in the rounds that are missing."""
    direction = f"{a} to {b}"
    missing = [
        (number, name)
        for number in range(1, rounds + 1)
        for name in CONTESTANTS[number % 3 :] + CONTESTANTS[: number % 3]
        if not kept.has(direction, ids, name, number)
    ]
    if not missing:
        return
    plain, by_ids = with_ids(a, b, ids, "One", prefill="off")
    ahead, by_ids_ahead = with_ids(a, b, ids, "Two", prefill="ahead", prefill_stride=64)
    by_text = with_text(clients, written, a, b, ids, "Three")
    rows = dict(zip(CONTESTANTS, (by_ids, by_ids_ahead, by_text), strict=True))
    async with plain.opened(), ahead.opened():
        for name in CONTESTANTS:  # warms up, and is not measured
            await rows[name](0)
        for number, name in missing:
            handed = await rows[name](number)
            kept.add(direction, ids, name, number, handed)
            print(f"  {direction}, {ids} ids, round {number}, {name}: {handed.gap * 1000:.1f} ms", flush=True)


def report(direction: str, ids: int, found: Mapping[str, list[Handoff]]) -> None:
    """Print the rows of one direction and length."""
    for name, handed in found.items():
        figures = [statistics.median(column) * 1000 for column in zip(*(h[:-1] for h in handed), strict=True)]
        cells = "".join(f"{figure:>10.2f}" for figure in figures)
        print(f"{direction + ': ' if name == 'ids' else '  '}{name}".ljust(40) + f"{ids:>6}{cells}")
    encode = pick_tokenizer(read_map(smollm2_map())).encode_ordinary
    said, ahead, texts = ([h.said for h in handed] for handed in found.values())
    assert all(len(answer) == ids for answer in said), "the answers are not of the same length"
    same = sum(one == other for one, other in zip(said, ahead, strict=True))
    other = sum(encode(text) != ids_of for text, ids_of in zip(texts, said, strict=True))
    print(f"  A's ids are the same in {same} of {len(said)} rounds with and without prefill;", end=" ")
    print(f"its text is encoded as other ids in {other}")


async def compare(lengths: tuple[int, ...], rounds: int, kept: Measured) -> None:
    """Measure both directions, and print the table."""
    import httpx2
    import openai

    written: list[float] = []

    async def about_to_write(_: httpx2.Request) -> None:
        written.append(time.perf_counter())

    async with httpx2.AsyncClient(event_hooks={"request": [about_to_write]}, timeout=600) as http:
        clients = {
            kind: openai.AsyncOpenAI(base_url=f"{url_of(kind)}/v1", api_key="none", http_client=http)
            for kind in ("vllm", "llamacpp")
        }
        for ids in lengths:
            for a, b in DIRECTIONS:
                await measure(a, b, ids, rounds, clients, written, kept)
    columns = ("gap", "first id", "detect", "own", "request", "engine")
    print(f"{'milliseconds':40}{'ids':>6}" + "".join(f"{column:>10}" for column in columns))
    for a, b in DIRECTIONS:
        for ids in lengths:
            report(f"{a} to {b}", ids, kept.rounds(f"{a} to {b}", ids, rounds))


def main(only: str = "", rounds: int = ROUNDS, results: str = "") -> bool:
    """Print the table, or its rows of one length."""
    path = Path(results) if results else cache_folder() / "handoffs.jsonl"
    lengths = tuple(ids for ids in LENGTHS if only in ("", str(ids)))
    print(f"{rounds} rounds; measured so far is in {path}")
    try:
        asyncio.run(compare(lengths, rounds, Measured(path)))
    except UnavailableError as error:
        print(f"{error}; make llamacpp builds the other engine")
        return False
    return True
