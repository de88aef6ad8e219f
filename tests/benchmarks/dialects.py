"""The cost of cutting a turn into lanes: `python -m tests.benchmarks dialects`.

Ids are fed 64 at a time to a reader with four kinds of region: reasoning, calls, turn ends and wrappers. The
processor's branch prediction learns a thousand ids that come again and again; drawn ones it cannot know.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import anyio

from codec_agents.dialects import BoundDialect, CallRegion, get_dialect
from codec_agents.tools.calls import ToolCall, ToolContext
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.tool import tool
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from tests.benchmarks.rows import Row, report, timed

FEED = 64
IDS = 192 * 1024
PASS_LIMIT = 15e-9
"""Seconds an id."""
CALL_LIMIT = 1e-3
"""Seconds from the frame of a call's end marker to the first line of its tool."""
CALLS = 50


def main() -> bool:
    """Print the figures; tell whether the bars are reached."""
    bound = BoundDialect(get_dialect("qwen3"), bundled_map("demo/bytes"), [touch])
    special = bound.vocabulary.special_tokens
    draw = random.Random(1)
    drawn = [draw.randrange(300, 1800) for _ in range(IDS)]
    rows = [
        Row(
            f"region pass, {FEED} ids a feed, {what}",
            timed(_reading(bound, ids, lane), IDS),
            limit=PASS_LIMIT,
        )
        for what, ids, lane in (
            ("an answer of the same 1,024 ids again and again", drawn[:1024] * (IDS // 1024), ()),
            ("an answer of drawn ids", drawn, ()),
            ("reasoning of drawn ids", drawn, (special["<think>"],)),
        )
    ]
    opening, closing = special["<tool_call>"], special["</tool_call>"]
    payload = pick_tokenizer(bound.vocabulary).encode_ordinary(
        '{"name": "touch", "arguments": {"started": 1.5}}'
    )
    call = (opening, *payload, closing)

    def dispatch() -> float:
        return statistics.median(anyio.run(_dispatch, bound, call) for _ in range(CALLS))

    rows.append(Row("end marker's frame to the tool's first line", dispatch, limit=CALL_LIMIT))
    outcomes = [report(row) for row in rows]
    return all(outcomes)


def _reading(bound: object, ids: list[int], before: tuple[int, ...]) -> Callable[[], None]:
    """Return the reading of a turn that begins with some markers."""
    feeds = [tuple(ids[place : place + FEED]) for place in range(0, len(ids), FEED)]

    def run() -> None:
        reader = bound.reader()  # type: ignore[attr-defined]
        reader.feed(before)
        feed = reader.feed
        for some in feeds:
            feed(some)

    return run


entered = 0.0


@tool
async def touch(started: float) -> None:
    """Note when the call arrived."""
    global entered
    entered = time.perf_counter()


async def _dispatch(bound: object, ids: tuple[int, ...]) -> float:
    dispatcher = Dispatcher([touch])
    reader = bound.reader()  # type: ignore[attr-defined]
    reader.feed(ids[:-1])
    begin = time.perf_counter()
    (region,) = reader.feed(ids[-1:])
    assert isinstance(region, CallRegion)
    calls: list[ToolCall] = bound.parse_calls(region)  # type: ignore[attr-defined]
    await dispatcher.run(calls[0], ToolContext("run", "node"))
    return entered - begin
