"""The slots of a node, and the edges that fill them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from codec_agents.concurrency.signal import Signal
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.edges.handoff import Handoff
from codec_agents.runtime.edges.transducers import Batch
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltNode
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


class Slots:
    """The slots of one node, filled while their sources stream."""

    __slots__ = ("_on_filled", "_open", "_run", "_wiring", "filled", "handoffs", "on_ids")

    def __init__(self, node: BuiltNode, wiring: Wiring, context: NodeContext) -> None:  # noqa: ARG002 - for `PromptSlots`
        self._wiring = wiring
        self._run = context.run
        self._open = len(wiring.inlets)
        """Edges that have not ended."""
        self._on_filled: Callable[[], None] = _do_nothing
        self.handoffs = [Handoff(inlet.edge, context.run.clock) for inlet in wiring.inlets]
        self.on_ids: Callable[[], None] | None = None
        """Called after each batch; None where nothing is done before the slots are complete."""
        self.filled: float | None = None
        """When the last edge ended, in seconds since the run was created."""

    @classmethod
    def at(cls, node: BuiltNode, wiring: Wiring, context: NodeContext) -> Self:
        """Return the slots of a node: those that the executor opened, or new ones."""
        return wiring.slots if isinstance(wiring.slots, cls) else cls(node, wiring, context)

    async def open(self, on_filled: Callable[[], None]) -> None:
        """Deliver what arrives straight into the slots; call `on_filled` when every edge has ended."""
        self._on_filled = on_filled
        if not self._open:  # no edge leads here, so none will end
            self._close()
        for handoff, inlet in zip(self.handoffs, self._wiring.inlets, strict=True):
            await inlet.channel.deliver_to(SlotInlet(self, handoff))

    async def fill(self) -> None:
        """Wait until every edge has ended.

        Raises:
            NodeSkipped: a slot stays empty, because no edge into it was taken.
        """
        if self.filled is None:  # a node with a task from the start: nothing has opened its slots
            filled = Signal()
            await self.open(filled.give)
            while self.filled is None:
                await filled.wait()
        self._drop_branches_not_taken()

    def edge_ended(self) -> None:
        """Count one more edge that has ended."""
        self._open -= 1
        if not self._open:
            self._close()

    def _close(self) -> None:
        self.filled = self._run.clock()
        self._on_filled()

    def _drop_branches_not_taken(self) -> None:
        channels = self._wiring.channels
        if not any(channel.skipped for channel in channels):
            return
        # Of several edges into one slot, one that was taken is enough.
        slots = {handoff.edge.target_slot for handoff in self.handoffs}
        self.handoffs = [
            handoff for handoff, channel in zip(self.handoffs, channels, strict=True) if not channel.skipped
        ]
        if slots - {handoff.edge.target_slot for handoff in self.handoffs}:
            raise NodeSkipped

    def ids(self) -> dict[str, list[int]]:
        """Return the ids of each slot that takes ids; several edges follow each other in declared order."""
        return _joined(self.handoffs)

    def values(self) -> dict[str, list[int] | str]:
        """Return the content of each slot: ids, or text where it takes text."""
        values: dict[str, list[int] | str] = dict(self.ids())
        for handoff in self.handoffs:
            if handoff.edge.target_vocabulary is None:
                slot, text = handoff.edge.target_slot, "".join(handoff.text)
                before = values.get(slot)
                values[slot] = f"{before}{handoff.edge.separator}{text}" if slot in values else text
        return values


class SlotInlet:
    """Moves what arrives on one edge into its slot.

    A slot has no bound: in the end it holds the whole content in any case.
    """

    __slots__ = ("_handoff", "_slots")

    def __init__(self, slots: Slots, handoff: Handoff) -> None:
        self._slots = slots
        self._handoff = handoff

    async def take(self, batch: Batch, /) -> None:
        """Take one batch."""
        self._handoff.take(batch)
        if self._slots.on_ids is not None:
            self._slots.on_ids()

    async def flush(self) -> None:
        """Do nothing: what the transducer holds back is emitted when the edge ends."""

    def end(self, *, skipped: bool) -> None:  # noqa: ARG002 - the channel keeps it
        """Emit what the transducer held back."""
        self._handoff.finish()
        self._slots.edge_ended()


def _do_nothing() -> None:
    pass


def _joined(handoffs: Sequence[Handoff]) -> dict[str, list[int]]:
    slots: dict[str, list[int]] = {}
    for handoff in handoffs:
        slot, vocabulary = handoff.edge.target_slot, handoff.edge.target_vocabulary
        if vocabulary is None:
            continue
        if slot not in slots:
            slots[slot] = list(handoff.ids)
        else:
            separator = pick_tokenizer(vocabulary).encode_ordinary(handoff.edge.separator)
            slots[slot] += [*separator, *handoff.ids]
    return slots
