"""What a node's task is connected to."""

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
    """One port of one node: every edge that leaves it gets every batch."""

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
        """What was sent, where somebody may want it again."""
        self.sent = 0
        """Ids or characters sent so far."""

    @property
    def abandoned(self) -> bool:
        """Whether nobody listens any more."""
        return all(channel.abandoned for channel in (*self._channels, *self._fallbacks))

    def on_abandoned(self, callback: Callable[[], None]) -> None:
        """Call back whenever one of the listeners wants no more."""
        for channel in (*self._channels, *self._fallbacks):
            channel.on_abandoned = callback

    def send(self, batch: Batch) -> Awaitable[None]:
        """Send to all edges; the slowest one sets the pace. To be awaited at once."""
        self.sent += len(batch)
        if self._delivered is not None:
            self._delivered.append(batch)
        if len(self._channels) == 1:
            return self._channels[0].send(batch)
        return self._send_to_all(batch)

    async def _send_to_all(self, batch: Batch) -> None:
        for channel in self._channels:
            await channel.send(batch)

    def kept(self) -> list[int] | str:
        """Return all that was sent, where it is kept."""
        delivered = self._delivered or []
        if delivered and isinstance(delivered[0], str):
            return "".join(map(str, delivered))
        return [token_id for batch in delivered for token_id in batch if isinstance(token_id, int)]

    async def send_fallback(self) -> None:
        """Give the fallback edges what had been delivered, now that the node has failed."""
        for channel in self._fallbacks:
            for batch in self._delivered or ():
                await channel.send(batch)
            channel.close()

    async def flush(self) -> None:
        """Let the receivers of what was sent give on what they held back."""
        for channel in self._channels:
            await channel.flush()

    def close(self, *, skipped: bool = False) -> None:
        """Say that no more will come; a fallback edge that was not needed is a branch not taken."""
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
        """Gather the ends of all edges at one node; `keeps` what it sends, for a run that may pause."""
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
        """Send a batch out of a port; a port that nobody reads swallows it."""
        outlet = self.outlets.get(port)
        if outlet is not None:
            await outlet.send(batch)

    async def send_fallback(self) -> None:
        """Give all fallback edges what had been delivered."""
        for outlet in self.outlets.values():
            await outlet.send_fallback()

    def sent(self) -> int:
        """Ids sent so far, out of all ports."""
        return sum(outlet.sent for outlet in self.outlets.values())

    def stop_when_abandoned(self, stop: Callable[[], None]) -> None:
        """Call `stop` as soon as nobody who listened to this node wants more; now, if it is so already."""

        def check() -> None:
            if all(outlet.abandoned for outlet in self.outlets.values()):
                stop()

        for outlet in self.outlets.values():
            outlet.on_abandoned(check)
        if self.outlets:  # they may have gone before this node's task began
            check()

    def remove_bound(self) -> None:
        """Hold up nobody who sends to this node, however much it is."""
        for inlet in self.inlets:
            inlet.channel.remove_bound()

    async def flush(self) -> None:
        """Let receivers give on what they held back: the node has come to its end."""
        for outlet in self.outlets.values():
            await outlet.flush()

    def close(self, *, skipped: bool = False) -> None:
        """End all ports, and take no more from any inlet: whoever still sends is not held up."""
        for outlet in self.outlets.values():
            outlet.close(skipped=skipped)
        for inlet in self.inlets:
            if not inlet.channel.finished:
                inlet.channel.abandon()
