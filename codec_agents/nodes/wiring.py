"""What a node's task is connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec_agents.channel import Channel, Signal
from codec_agents.handoff import Batch

if TYPE_CHECKING:
    from codec_agents.build import BuiltEdge


@dataclass(frozen=True, slots=True)
class Inlet:
    """The receiving end of one edge."""

    edge: BuiltEdge
    channel: Channel[Batch]


class Outlet:
    """One port of one node: every edge that leaves it gets every batch."""

    __slots__ = ("_channels", "sent")

    def __init__(self, channels: Sequence[Channel[Batch]]) -> None:
        self._channels = channels
        self.sent = 0
        """Ids or characters sent so far."""

    async def send(self, batch: Batch) -> None:
        """Send to all edges; the slowest one sets the pace."""
        self.sent += len(batch)
        for channel in self._channels:
            await channel.send(batch)

    def close(self) -> None:
        """Say that no more will come."""
        for channel in self._channels:
            channel.close()


@dataclass(frozen=True, slots=True)
class Wiring:
    """The ends of all edges at one node."""

    inlets: Sequence[Inlet]
    outlets: Mapping[str, Outlet]
    ready: Signal
    """Given when any inlet has something."""

    async def send(self, port: str, batch: Batch) -> None:
        """Send a batch out of a port; a port that nobody reads swallows it."""
        outlet = self.outlets.get(port)
        if outlet is not None:
            await outlet.send(batch)

    def sent(self) -> int:
        """Ids sent so far, out of all ports."""
        return sum(outlet.sent for outlet in self.outlets.values())

    def close(self) -> None:
        """End all ports, and take no more from any inlet: whoever still sends is not held up."""
        for outlet in self.outlets.values():
            outlet.close()
        for inlet in self.inlets:
            inlet.channel.abandon()
