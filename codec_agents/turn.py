"""One turn of a model: the token ids of its prompt, and what the model made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from codec_agents.dialects.values import CallRegion, TurnEvent
from codec_agents.engines.base import StreamStats
from codec_agents.engines.values import TurnValues
from codec_agents.events import EngineReport, Port, Usage
from codec_agents.prompts import History, ToldResults

CACHE_BLOCKS = 256
"""Ids that an engine may read anew without a fault: caches hold whole blocks, of 128 ids at most in practice,
and the block that was being filled when the turn before ended is not always kept."""


def lost_from(kept: int, cached: int | None) -> int | None:
    """Return the first position of a kept prefix that the engine read anew, where it found far too little.

    Args:
        kept: how many of the prompt's first ids are exactly the turn before, which the engine has read.
        cached: how many ids of the prompt it found in its cache; None where it does not report it.

    Returns:
        The position; None where at least half of the prefix, or all but `CACHE_BLOCKS` ids, was found.
    """
    # Half: an engine that lost most of it is worth a warning; some blocks are lost under any load.
    if cached is None or cached >= kept // 2 or kept - cached <= CACHE_BLOCKS:
        return None
    return cached


def shared_prefix(earlier: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many of the first ids of two conversations are the same."""
    low, high = 0, min(len(earlier), len(prompt))
    while low < high:  # by halving: comparing slices is fast
        middle = (low + high + 1) // 2
        if earlier[low:middle] == prompt[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class LastTurn(NamedTuple):
    """The last turn of a model that finished, as a later run continues it."""

    turn: Turn
    begin: int
    """The length of the prompt that its run began with."""
    told: tuple[ToldResults, ...]
    """The results of calls, by their places in its prompt, or behind the turn."""
    unread: tuple[int, ...] = ()
    """The ids of the turn's results, where its run was stopped before a further turn read them."""

    def history(self, map_hash: str | None) -> History:
        """Return the conversation up to the end of the turn, or of its results."""
        turn, prompt, generated = self.turn, self.turn.prompt, self.turn.generated
        if self.unread:
            prompt, generated = [*turn.prompt, *turn.generated, *self.unread], []
        return History(
            prompt=prompt,
            generated=generated,
            begin=self.begin,
            map_hash=map_hash,
            told=self.told,
            unread=bool(self.unread),
        )


@dataclass(slots=True)
class Turn:
    """One turn, while it is generated and afterwards."""

    number: int
    """Counted from 1 within the node's conversation."""
    prompt: list[int]
    kept_prefix: int
    """How many of the prompt's first ids are exactly the turn before."""
    generated: list[int] = field(default_factory=list)
    """All ids as sampled, markers and end of turn included."""
    answer: list[int] = field(default_factory=list)
    """The ids of the answer: `generated` without reasoning, tool calls and markers."""
    spans: list[tuple[Port, int, int]] = field(default_factory=list)
    """Port, start and stop of each lane, by position in `generated`."""
    finish_reason: str | None = None
    """Why the turn ended; None while it goes on, and after a failure."""
    stats: list[StreamStats] = field(default_factory=list)
    """One per request: a retry adds one."""
    reasoning_ids: int = 0
    retries: int = 0
    asked: float = 0.0
    """When the prompt was complete, in seconds since the run was created."""
    admitted: float = 0.0
    """When the engine had a free place for the first request, in seconds since the run was created."""
    sent_ahead: int = 0
    """How many of the prompt's first ids the engine was sent before the request."""
    results: tuple[tuple[int, int], ...] = ()
    """Start and stop, in `prompt`, of the results of the previous turn's tool calls."""
    values: TurnValues | None = None
    """The values of `generated`; None where they were not asked for."""

    def note(self, event: TurnEvent) -> Port:
        """Add the span of an event; return the port by which its ids leave the node."""
        if isinstance(event, CallRegion):
            # Never joined with the one before: a region is one call, or one block of calls.
            self.spans.append(("tool_calls", event.start, event.stop))
            return "tool_calls"
        stop = event.start + len(event.ids)
        if event.port == "reasoning":
            self.reasoning_ids += len(event.ids)
        else:
            self.answer += event.ids
        port, start = event.port, event.start
        if self.spans:
            last_port, since, until = self.spans[-1]
            if until == start and last_port == port:  # one span per lane, however frames cut it
                start = since
                del self.spans[-1]
        self.spans.append((port, start, stop))
        return port

    def engine_report(self) -> EngineReport:
        """Return what the engine said of the turn's first request."""
        if not self.stats:
            return EngineReport()
        # A repeated request finds in the cache what the first one left there.
        first = self.stats[0]
        return EngineReport(
            first.cached_tokens, first.engine_queue, first.engine_prefill, first.engine_seconds
        )

    @property
    def lost_from(self) -> int | None:
        """The position from which the engine read anew what it had read before; see `lost_from`."""
        return lost_from(self.kept_prefix, self.stats[0].cached_tokens if self.stats else None)

    def usage(self) -> Usage:
        """Return the counts of the turn. The cached ids are those of the last request."""
        cached, received, sent = None, 0, 0
        # Cached ids are no sum: each request repeats the prompt, which `prompt_ids` counts once. Those of the
        # last one: a request that was cut off seldom has reported them, which most engines do at the end.
        for stats in self.stats:
            cached = stats.cached_tokens
            received += stats.bytes_received
            sent += stats.bytes_sent
        return Usage(
            prompt_ids=len(self.prompt),
            cached_ids=cached,
            generated_ids=len(self.generated),
            reasoning_ids=self.reasoning_ids,
            turns=1,
            retries=self.retries,
            bytes_received=received,
            bytes_sent=sent,
        )
