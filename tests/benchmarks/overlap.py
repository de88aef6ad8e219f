"""What is left of a handoff when translation overlaps the source's decoding, beside translating at the end.

    python -m tests.benchmarks overlap [--only unpaced | paced]

From A's last frame to B's request written, and what that consists of. Both models are scripted and stand
behind real HTTP in a process of its own, on another processor than the client where there are two; they have
different vocabularies. The two ways take turns, and every answer is another text. `gap` and its parts are
those of the round at the lower quartile: other work on the machine only ever adds, and a single round may be
lucky. `median` is the gap's median.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import NamedTuple

from codec_agents import Pipeline
from codec_agents.engines.codec import CodecEngine
from codec_agents.events import HandoffReport
from tests.benchmarks.handoff import IDS, PACE, asked, maps, paces, pipeline, server, translating_at_the_end

LENGTHS = {"": (*IDS, 16_384), "paced ": IDS}
ROUNDS = {"": 15, "paced ": 7}
OVERLAP_BAR = 5.0
"""So many times longer it has to be when translation starts at the end, at 4,096 ids."""
GROWTH_BAR = 1.5
"""At most so many times longer at the most ids than at `GROWS_FROM`, without writing the request."""
GROWS_FROM = 1024
"""Fewer ids than this come in a read or two, of which the end is one: there is less to do after it."""
PARTS = ("detect", "translate", "wait", "render", "queue", "request")


class Rounds(NamedTuple):
    """Many handoffs, in seconds: the one at the lower quartile, and the median."""

    gap: float
    parts: dict[str, float]
    median: float

    @property
    def before_the_request(self) -> float:
        return self.gap - self.parts["request"]


async def hand_off(built: Pipeline, ids: int) -> HandoffReport:
    return (await built.invoke({"asked": asked(ids)})).handoffs[-1]


async def compare(built: Pipeline, ids: int, rounds: int) -> tuple[Rounds, Rounds]:
    """Let both ways take turns; the first round warms up."""
    ours: list[HandoffReport] = []
    at_the_end: list[HandoffReport] = []
    for _ in range(rounds + 1):
        ours.append(await hand_off(built, ids))
        with translating_at_the_end():
            at_the_end.append(await hand_off(built, ids))
    return _summary(ours[1:]), _summary(at_the_end[1:])


def _summary(reports: list[HandoffReport]) -> Rounds:
    by_gap = sorted(reports, key=_gap)
    typical = by_gap[len(by_gap) // 4]
    return Rounds(_gap(typical), typical.parts, statistics.median(map(_gap, reports)))


def _gap(report: HandoffReport) -> float:
    assert report.gap is not None
    return report.gap


async def measure(url: str, only: str) -> bool:
    engines = {name: CodecEngine(url, name=name) for name in "ab"}
    here, there = maps()
    reached = True
    for pace, rounds in ((pace, ROUNDS[pace]) for pace in paces(only)):
        print(f"\n{'paced, ' + format(PACE, ',.0f') + ' ids/s' if pace else 'unpaced, an id a frame'}")
        print(
            f"{'ms':24}{'ids':>7}{'gap':>9}{'median':>9}" + "".join(f"{part:>11}" for part in PARTS),
            flush=True,
        )
        built = pipeline(engines, pace, here, there)
        found = {}
        for ids in LENGTHS[pace]:
            found[ids] = await compare(built, ids, rounds)
            for name, rounds_of in zip(("overlapped", "translated at the end"), found[ids], strict=True):
                _print(name, ids, rounds_of)
        reached &= _judge(found)
    for engine in engines.values():
        await engine.aclose()
    return reached


def _print(name: str, ids: int, found: Rounds) -> None:
    parts = "".join(f"{found.parts[part] * 1000:>11.3f}" for part in PARTS)
    print(f"{name:24}{ids:>7,}{found.gap * 1000:>9.2f}{found.median * 1000:>9.2f}{parts}", flush=True)


def _judge(found: dict[int, tuple[Rounds, Rounds]]) -> bool:
    few, many = found[GROWS_FROM][0], found[max(found)][0]
    ours, at_the_end = found[max(IDS)]
    times, grows = at_the_end.gap / ours.gap, many.before_the_request / few.before_the_request
    verdict = "reached" if times >= OVERLAP_BAR else "MISSED"
    by_medians = at_the_end.median / ours.median
    print(
        f"at {max(IDS):,} ids, translating at the end takes {times:.1f}x, by medians {by_medians:.1f}x  "
        f"[{verdict}: {OVERLAP_BAR:g}x]"
    )
    verdict = "reached" if grows <= GROWTH_BAR else "MISSED"
    print(
        f"until the request is begun: {few.before_the_request * 1000:.2f} ms at {GROWS_FROM:,} ids, "
        f"{many.before_the_request * 1000:.2f} ms at {max(found):,}  [{verdict}: at most {GROWTH_BAR:g}x]",
        flush=True,
    )
    return times >= OVERLAP_BAR and grows <= GROWTH_BAR


def main(only: str = "") -> bool:
    """Print the tables, or one of them; return whether the bars were reached."""
    print(f"maps: {' and '.join(maps())}")
    with server() as url:
        return asyncio.run(measure(url, only))
