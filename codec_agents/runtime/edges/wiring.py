"""The ends of all edges at one node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec_agents.concurrency.signal import Signal
from codec_agents.runtime.edges.channel import Channel
from codec_agents.runtime.edges.transducers import Batch

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltEdge
    from codec_agents.plan.plan import NodeLinks


@dataclass(frozen=True, slots=True)
class Inlet:
    """The receiving end of one edge."""

    edge: BuiltEdge
    channel: Channel[Batch]


class Outlet:
    """One port of one node: every edge from it gets every batch."""

    __slots__ = ("_channels", "_delivered", "_fallbacks", "sent")

    def __init__(
        self,
        channels: Sequence[Channel[Batch]],
        fallbacks: Sequence[Channel[Batch]] = (),
        *,
        keeps: bool = False,
    ) -> None:
        self._channels = channels
        self._fallbacks = fallbacks
        self._delivered: list[Batch] | None = [] if keeps or fallbacks else None
        """What was sent, where a fallback edge or a suspended run needs it again; else None."""
        self.sent = 0
        """Ids or characters sent so far."""

    @property
    def abandoned(self) -> bool:
        """True if no consumer is left."""
        return all(channel.abandoned for channel in (*self._channels, *self._fallbacks))

    def on_abandoned(self, callback: Callable[[], None]) -> None:
        """Call back whenever a consumer leaves."""
        for channel in (*self._channels, *self._fallbacks):
            channel.on_abandoned = callback

    def send(self, batch: Batch) -> Awaitable[None]:
        """Send to all edges, at the pace of the slowest. The result has to be awaited at once."""
        self.sent += len(batch)
        if self._delivered is not None:
            self._delivered.append(batch)
        if len(self._channels) == 1:  # nearly always: saves a coroutine per batch
            return self._channels[0].send(batch)
        return self._send_to_all(batch)

    async def _send_to_all(self, batch: Batch) -> None:
        for channel in self._channels:
            await channel.send(batch)

    def kept(self) -> list[int] | str:
        """Return everything that was sent, where it is kept."""
        delivered = self._delivered or []
        if delivered and isinstance(delivered[0], str):
            return "".join(map(str, delivered))
        return [token_id for batch in delivered for token_id in batch if isinstance(token_id, int)]

    async def send_fallback(self) -> None:
        """Send what the failed node had delivered to the fallback edges, and close them."""
        for channel in self._fallbacks:
            for batch in self._delivered or ():
                await channel.send(batch)
            channel.close()

    async def flush(self) -> None:
        """Let the receivers pass on what they held back."""
        for channel in self._channels:
            await channel.flush()

    def close(self, *, skipped: bool = False) -> None:
        """Close the edges. A fallback edge that was not needed is a branch not taken."""
        for channel in self._channels:
            channel.close(skipped=skipped)
        for channel in self._fallbacks:
            channel.close(skipped=True)


@dataclass(slots=True)
class Wiring:
    """The ends of all edges at one node."""

    inlets: Sequence[Inlet]
    outlets: Mapping[str, Outlet]
    ready: Signal
    """Given when any inlet has something."""
    slots: object | None = None
    """The `Slots` of a node that starts once they are filled. `Slots.at` narrows the type: slots know
    wirings, not the reverse."""

    @classmethod
    def of_node(
        cls, links: NodeLinks, inlets: Sequence[Inlet], ready: Signal, *, keeps: bool = False
    ) -> Wiring:
        """Return the ends of all edges at one node; `keeps` its output, for a run that may be suspended."""
        outlets = {
            port: Outlet(
                [inlets[number].channel for number in edges],
                [inlets[number].channel for number in fallbacks] if fallbacks else (),
                keeps=keeps,
            )
            for port, (edges, fallbacks) in links.outgoing.items()
        }
        return cls([inlets[number] for number in links.incoming], outlets, ready)

    @property
    def channels(self) -> list[Channel[Batch]]:
        """The channels of all inlets."""
        return [inlet.channel for inlet in self.inlets]

    async def send(self, port: str, batch: Batch) -> None:
        """Send a batch out of a port; without an edge from it, the batch is dropped."""
        outlet = self.outlets.get(port)
        if outlet is not None:
            await outlet.send(batch)

    async def send_fallback(self) -> None:
        """Send what the failed node had delivered to all its fallback edges."""
        for outlet in self.outlets.values():
            await outlet.send_fallback()

    def sent(self) -> int:
        """Ids sent so far, out of all ports."""
        return sum(outlet.sent for outlet in self.outlets.values())

    def stop_when_abandoned(self, stop: Callable[[], None]) -> None:
        """Call `stop` as soon as no consumer of this node is left; at once if that is already so."""

        def check() -> None:
            if all(outlet.abandoned for outlet in self.outlets.values()):
                stop()

        for outlet in self.outlets.values():
            outlet.on_abandoned(check)
        # They may have gone before this node's task began. A node without ports has none that could go.
        if self.outlets:
            check()

    def remove_bound(self) -> None:
        """Let the producers of this node send any amount without waiting."""
        for inlet in self.inlets:
            inlet.channel.remove_bound()

    async def flush(self) -> None:
        """Let the receivers pass on what they held back: the node has finished."""
        for outlet in self.outlets.values():
            await outlet.flush()

    def close(self, *, skipped: bool = False) -> None:
        """Close all ports, and abandon all inlets: producers that still send do not wait."""
        for outlet in self.outlets.values():
            outlet.close(skipped=skipped)
        for inlet in self.inlets:
            if not inlet.channel.finished:
                inlet.channel.abandon()
