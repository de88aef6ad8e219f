"""One turn of a model: the token ids of its prompt, and what the model made of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from codec_agents.dialects.values import CallRegion, TurnEvent
from codec_agents.engines.base import StreamStats
from codec_agents.engines.values import TurnValues
from codec_agents.events import Port, Usage


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
    results: tuple[tuple[int, int], ...] = ()
    """Start and stop, in `prompt`, of the results of the previous turn's tool calls."""
    values: TurnValues | None = None
    """The values of `generated`; None where they were not asked for."""

    def note(self, event: TurnEvent) -> Port:
        """Add the span of an event; return the port by which its ids leave the node."""
        if isinstance(event, CallRegion):
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

    def usage(self) -> Usage:
        """Return the counts of the turn. The cached ids are those of the last request."""
        cached, received, sent = None, 0, 0
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
