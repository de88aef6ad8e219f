"""The cost of cutting a turn into lanes: `python -m tests.benchmarks.dialects`.

A turn of reasoning, answer and calls is fed 64 ids at a time to a reader with all kinds of region: reasoning,
calls, turn ends and wrappers.
"""

from __future__ import annotations

import random
import time

import anyio

from codec_agents.dialects import CallRegion, ToolCall, get_dialect
from codec_agents.dispatch import Dispatcher
from codec_agents.tools import ToolContext, tool
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer

FEED = 64
IDS = 200_000
ROUNDS = 7


def main() -> None:
    """Print the figures."""
    bound = get_dialect("qwen3").bind(bundled_map("demo/bytes"), [touch])
    special = bound.vocabulary.special_tokens
    draw = random.Random(1)
    drawn = [draw.randrange(300, 1800) for _ in range(IDS)]
    for what, ids in ("the same 1,024 ids again and again", drawn[:1024] * (IDS // 1024)), ("drawn", drawn):
        feeds = [tuple(ids[place : place + FEED]) for place in range(0, len(ids), FEED)]
        best = min(_read(bound.reader(), feeds) for _ in range(ROUNDS))
        print(f"region pass, {FEED} ids a feed, {what}: {best / len(ids) * 1e9:.1f} ns an id")
    opening, closing = special["<tool_call>"], special["</tool_call>"]
    payload = pick_tokenizer(bound.vocabulary).encode_ordinary(
        '{"name": "touch", "arguments": {"started": 1.5}}'
    )
    delays = sorted(anyio.run(_dispatch, bound, (opening, *payload, closing)) for _ in range(50))
    print(f"end marker's frame to the tool's first line: {delays[25] * 1e6:.0f} us (median of {len(delays)})")


def _read(reader: object, feeds: list[tuple[int, ...]]) -> float:
    feed = reader.feed  # type: ignore[attr-defined]
    begin = time.process_time()
    for ids in feeds:
        feed(ids)
    return time.process_time() - begin


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


if __name__ == "__main__":
    main()
