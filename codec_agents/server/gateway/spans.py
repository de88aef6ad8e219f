"""The lanes of a stored turn."""

from __future__ import annotations

from collections.abc import Sequence

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.values import CallRegion
from codec_agents.server.gateway.continuation import Continuation
from codec_agents.server.gateway.tree import Span
from codec_agents.server.lanes import reader_behind


def spans_of(
    dialect: BoundDialect,
    continuation: Continuation,
    sampled: Sequence[int],
    reason: str | None,
    *,
    with_tools: bool,
) -> tuple[Span, ...]:
    """Return the lanes of a turn: reasoning, answer and calls, with their places among its sampled ids."""
    begun = continuation.begun
    reader = reader_behind(dialect, continuation.prompt, begun, with_tools=with_tools)
    spans: list[Span] = []
    for event in [*reader.feed(sampled), *reader.flush(reason)]:
        if isinstance(event, CallRegion):
            spans.append(("tool_calls", event.start, event.stop))
            continue
        start, stop = event.start, event.start + len(event.ids)
        if spans and spans[-1][0] == event.port and spans[-1][2] == start:
            start = spans.pop()[1]
        spans.append((event.port, start, stop))
    # The reader counts the begun ids as well, and spans are of the sampled ones.
    return tuple((lane, max(0, start - begun), max(0, stop - begun)) for lane, start, stop in spans)
