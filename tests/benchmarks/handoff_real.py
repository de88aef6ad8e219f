"""Handoffs between real engines beside the text path: SmolLM2 on vLLM, Gemma on llama.cpp.

    python -m tests.benchmarks handoff_real [--rounds 15] [--minutes 15] [--only KIND]

KIND is `handoff` (`128`, `512` or `1500` alone), `prefill`, `fan-out` or `loop`. A writes an answer of a
fixed length, B reads it: both on vLLM (one vocabulary), and between vLLM and llama.cpp (two). The text path
is the official `openai` client in an interpreter of its own. Contestants take turns in every round. In one
round A has the same prompt and draws nothing at random; B's prompts begin differently, so that none finds
another's in the cache. `own` is the client's part: from A's last id, or text, until the next request is about
to be written (in a fan-out without the wait for a beginning that another branch reads); `gap` until it is
written; `first id` until B's first id, or text. `CPU` is the client's, then the engines'. Figures are medians
in milliseconds. Servers and client share this machine: compare rows, never two runs.

A part ends after `--rounds` rounds, or when its share of `--minutes` is over, and not before two; the rows
say how many it had. 0 minutes is no bound.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from codec_agents import Pipeline
from tests.benchmarks.handoff_paths import BRANCHES, Contestant, Figures, Ids, Text, measured
from tests.real_engines.places import UnavailableError

ROUNDS, MINUTES = 15, 15.0
LENGTHS = (128, 512, 1500)
DIRECTIONS = {
    ("vllm", "vllm"): "one vocabulary, vLLM",
    ("gemma", "vllm"): "two, llama.cpp to vLLM",
    ("vllm", "gemma"): "two, vLLM to llama.cpp",
}
PREFILLED = 1500
STRIDE = 128
FAN_OUT = (128, 640)
SLOWER = 1.05
"""How much slower than the text path a row may be."""

PREFILL_BAR, OWN_BAR, FOUND_BAR = 3.0, 0.5e-3, 0.95
LEAST = 2
"""Rounds that every part has."""


class Part(NamedTuple):
    """Contestants that take turns."""

    name: str
    title: str
    ids: int
    servers: Sequence[str]
    contestants: Mapping[str, Contestant]
    pipelines: Sequence[Pipeline]
    share: float
    """Its part of the time, as a weight."""


def parts(text: Text, only: str) -> Iterator[Callable[[], Part]]:
    """Yield what makes each part, in order, or the parts of one kind: making one starts its engines."""
    for ids in LENGTHS:
        for (a, b), title in DIRECTIONS.items():
            if only in ("", "handoff", f"{ids}"):
                yield partial(handoff, text, a, b, ids, title)
    if only in ("", "prefill"):
        yield from (partial(prefill, a, b) for a, b in (("gemma", "vllm"), ("vllm", "gemma")))
    if only in ("", "fan-out"):
        yield from (partial(fan_out, text, ids) for ids in FAN_OUT)
    if only in ("", "loop"):
        yield partial(loop, text)


def made(text: Text, only: str) -> list[Part]:
    """Return the parts whose engines are there, and say which are left out."""
    found, missing = [], {}
    for make in parts(text, only):
        try:
            found.append(make())
        except UnavailableError as error:
            missing[str(error)] = missing.get(str(error), 0) + 1
    for error, count in missing.items():
        print(f"{count} parts are left out: {error}", flush=True)
    return found


def handoff(text: Text, a: str, b: str, ids: int, title: str) -> Part:
    """Return a handoff by ids, with an event per id as well, and by text."""
    mark = f"{a} {b} {ids}"
    ours, one = Ids(f"One, {mark}"), Ids(f"Two, {mark}")
    pipelines = {"ids": ours.pipeline(a, b, ids)}
    if ids == LENGTHS[1] and a == "vllm":
        pipelines["ids, an event each"] = one.pipeline(a, b, ids, each=True)
    rows = {name: ours.handoff(p) for name, p in pipelines.items()}
    rows["text, openai client"] = text.handoff(f"Three, {mark}", a, b, ids)
    return Part("handoff", title, ids, (a, b), rows, list(pipelines.values()), ids * len(rows))


def prefill(a: str, b: str) -> Part:
    """Return a long handoff with requests ahead, without, and as where nothing is declared."""
    ways = {"without": {"prefill": "off"}, "prefill: ahead": {"prefill": "ahead", "prefill_stride": STRIDE}}
    ways["by default"] = {}
    pipelines = {}
    rows = {}
    for word, (name, edge) in zip(("Four", "Five", "Six"), ways.items(), strict=True):
        contestant = Ids(f"{word}, {a} {b}")
        pipelines[name] = contestant.pipeline(a, b, PREFILLED, **edge)
        rows[name] = contestant.handoff(pipelines[name])
    title = f"prefill, {a} to {b}"
    return Part("prefill", title, PREFILLED, (a, b), rows, list(pipelines.values()), PREFILLED * 3)


def fan_out(text: Text, ids: int) -> Part:
    """Return a handoff to four readers at once; the last of them counts."""
    contestant = Ids(f"Seven, {ids}")
    p = contestant.pipeline("vllm", "vllm", ids, BRANCHES)
    by_text = text.handoff(f"Eight, {ids}", "vllm", "vllm", ids, BRANCHES)
    rows = {"ids": contestant.handoff(p), "text, openai client": by_text}
    return Part("fan-out", f"fan-out to {len(BRANCHES)}", ids, ("vllm",), rows, [p], 3 * ids)


def loop(text: Text) -> Part:
    """Return a loop of tool calls; the mean over its turns counts."""
    p, contestant = Ids("Nine").loop("vllm")
    rows = {"ids": contestant, "text, openai client": text.loop("Ten", "vllm")}
    return Part("loop", "tool loop, five turns", 0, ("vllm",), rows, [p], 600)


async def measure(part: Part, rounds: int, seconds: float) -> dict[str, list[Figures]]:
    """Let contestants take turns, after one round that warms up."""
    found: dict[str, list[Figures]] = {name: [] for name in part.contestants}
    order = list(found)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        for pipeline in part.pipelines:
            await stack.enter_async_context(pipeline.opened())
        for number in range(rounds + 1):
            if number > LEAST and seconds and time.monotonic() - began > seconds:
                break
            for name in order:
                figures = await measured(part.servers, part.contestants[name])(number)
                if number:
                    found[name].append(figures)
            order.append(order.pop(0))
    return found


HEADS = ("ids", "rounds", "own", "gap", "first id", "CPU", "engines' CPU", "bytes/id", "found")


WIDTHS = (6, 7, 9, 9, 10, 9, 18, 9, 7)


def cells(row: Sequence[str]) -> str:
    """Return the cells of a row, in columns."""
    return "".join(cell.rjust(width) for cell, width in zip(row, WIDTHS, strict=True))


def report(part: Part, found: Mapping[str, list[Figures]]) -> bool:
    """Print the rows of a part; return whether its bars were reached."""
    print(part.title, flush=True)
    medians = {name: median(figures) for name, figures in found.items()}
    for name, figures in medians.items():
        received = "-" if figures.received is None else f"{figures.received:.1f}"
        found_part = "-" if figures.found is None else f"{figures.found:.0%}"
        spans = map(_milliseconds, (figures.own, figures.gap, figures.first, figures.cpu))
        engines = " + ".join(map(_milliseconds, figures.engines))
        row = (f"{part.ids or '-'}", f"{len(found[name])}", *spans, engines, received, found_part)
        print(f"  {name:24}{cells(row)}", flush=True)
    if part.name == "prefill":
        print(f"    {sameness(found)}", flush=True)
    verdicts = [verdict(what, *bar) for what, bar in bars(part, medians).items()]
    return all(verdicts)


def sameness(found: Mapping[str, Sequence[Figures]]) -> str:
    """Return how often A wrote the same ids, whatever B's engine did meanwhile."""
    rounds = list(zip(*found.values(), strict=True))
    said = sum(all(each.said == row[0].said for each in row) for row in rounds)
    return f"A's ids are the same in all ways in {said} of {len(rounds)} rounds"


def median(figures: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""

    def of(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    engines = tuple(of(column) for column in zip(*(each.engines for each in figures), strict=True))
    return Figures(
        own=of([each.own for each in figures]) or 0.0,
        first=of([each.first for each in figures]) or 0.0,
        gap=of([each.gap for each in figures]),
        cpu=of([each.cpu for each in figures]) or 0.0,
        engines=engines,
        received=of([each.received for each in figures]),
        found=min((each.found for each in figures if each.found is not None), default=None),
    )


def bars(part: Part, rows: Mapping[str, Figures]) -> dict[str, tuple[float, float, bool]]:
    """Return what a part has to reach: its figure, its bar, and whether more is better."""
    if part.name == "prefill":
        times = rows["without"].first / rows["prefill: ahead"].first
        by_default = rows["without"].first / rows["by default"].first
        needed = PREFILL_BAR if part.servers[1] == "vllm" else 0.0
        return {
            "first id without prefill / with it": (times, needed, True),
            "first id without prefill / by default": (by_default, needed, True),
        }
    ids, text = rows["ids"], rows["text, openai client"]
    found = {
        "first id, ids / text": (ids.first / text.first, SLOWER, False),
        "the client's part, ids / text": (ids.own / text.own, 1.0, False),
        "the client's part, ms": (ids.own * 1000, OWN_BAR * 1000, False),
    }
    if part.name == "loop" and ids.found is not None:
        found["cached of the kept prefix, in blocks, least"] = (ids.found, FOUND_BAR, True)
    return found


def verdict(what: str, figure: float, bar: float, more: bool) -> bool:
    """Print a figure beside its bar; return whether it is reached."""
    reached = figure >= bar if more else figure <= bar
    told = (
        f"  [{'reached' if reached else 'MISSED'}: {'at least' if more else 'at most'} {bar:g}]"
        if bar
        else ""
    )
    print(f"    {what}: {figure:.2f}{told}", flush=True)
    return reached


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.2f}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"


async def compare(only: str, rounds: int, minutes: float) -> bool:
    """Measure all parts, or one kind of them."""
    text = Text()
    try:
        chosen = made(text, only)
        whole = sum(part.share for part in chosen)
        print("milliseconds".ljust(26) + cells(HEADS), flush=True)
        reached = True
        for part in chosen:
            found = await measure(part, rounds, 60 * minutes * part.share / whole)
            reached = report(part, found) and reached
        return reached
    finally:
        text.close()


def main(only: str = "", rounds: int = ROUNDS, minutes: float = MINUTES) -> bool:
    """Print the tables, or one kind of them; return whether the bars were reached."""
    try:
        return asyncio.run(compare(only, rounds, minutes))
    except UnavailableError as error:
        print(f"{error}; make test-engines and make llamacpp prepare the engines")
        return False
