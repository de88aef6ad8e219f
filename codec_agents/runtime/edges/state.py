"""The state of a run's edges at one instant: what flows, what waits, and which producers wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Inlet


@dataclass(frozen=True, slots=True)
class EdgeState:
    """One edge at one instant."""

    source: str
    """As `node.port`."""
    target: str
    """As `node.slot`, or the sink's name."""
    strategy: str
    unit: Literal["ids", "characters"]
    """What is counted: characters where text flows."""
    sent: int
    """How many have entered the edge."""
    held: int
    """How many are queued in it."""
    buffer: int
    """How many may be queued before the source waits."""
    waits: int
    """How often the source had to wait."""
    blocked_seconds: float
    """How long the source waited, until now."""
    blocked: bool
    """Whether the source waits now."""
    open: bool
    """Whether more may come."""


def edge_states(passes: Iterable[NodeContext]) -> list[EdgeState]:
    """Return the state of the edges of all passes; nodes of nested plans are named by their full paths."""
    now = time.perf_counter()
    return [_state(inlet, prefix, now) for prefix, inlet in _inlets(passes)]


def _inlets(passes: Iterable[NodeContext]) -> Iterator[tuple[str, Inlet]]:
    for context in passes:
        for name, wiring in context.wirings.items():
            prefix = context.plan.nodes[name].prefix
            for inlet in wiring.inlets:
                yield prefix, inlet


def _state(inlet: Inlet, prefix: str, now: float) -> EdgeState:
    edge, channel = inlet.edge, inlet.channel
    since = channel.blocked_since
    return EdgeState(
        source=prefix + edge.source,
        target=prefix + edge.target,
        strategy=edge.strategy,
        unit="characters" if edge.source_vocabulary is None else "ids",
        sent=channel.taken + channel.held,
        held=channel.held,
        buffer=edge.buffer,
        waits=channel.waited,
        blocked_seconds=channel.blocked_seconds + (0.0 if since is None else now - since),
        blocked=since is not None,
        open=not (channel.closed or channel.abandoned),
    )
