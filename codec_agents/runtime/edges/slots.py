"""Fill the slots of a node from the edges that lead into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from codec_agents.plan.plan import BuiltAsking
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.edges.channel import Signal
from codec_agents.runtime.edges.handoff import Batch, Handoff
from codec_agents.runtime.model.preparation import Ahead
from codec_agents.runtime.model.prompt import GrowingPrompt
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltNode
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.executor import Execution


class Slots:
    """The slots of one node, filled while their sources stream."""

    __slots__ = ("_growing", "_node", "_on_filled", "_open", "_run", "_wiring", "ahead", "filled", "handoffs")

    def __init__(self, node: BuiltNode, wiring: Wiring, execution: Execution) -> None:
        self._node = node
        self._wiring = wiring
        self._run = execution.run
        self._open = len(wiring.inlets)
        self._on_filled: Callable[[], None] = _do_nothing
        self.handoffs = [Handoff(inlet.edge, execution.run) for inlet in wiring.inlets]
        self.ahead = Ahead.of(node, self, execution)
        """What is done before all of it is there."""
        self._growing: GrowingPrompt | None = None
        """The prompt so far, for engines that the request is prepared for ahead."""
        if isinstance(node, BuiltAsking) and self.ahead is not None:
            self._growing = GrowingPrompt(node, list(zip(self.handoffs, wiring.channels, strict=True)))
        self.filled: float | None = None
        """When the last edge had ended."""

    @classmethod
    def at(cls, node: BuiltNode, wiring: Wiring, execution: Execution) -> Slots:
        """Return the slots of a node: those that are being filled already, or new ones."""
        return wiring.slots or cls(node, wiring, execution)

    async def open(self, on_filled: Callable[[], None]) -> None:
        """Let what arrives go straight into the slots; `on_filled` is called when every edge has ended."""
        self._on_filled = on_filled
        if not self._open:
            self._close()
        for handoff, inlet in zip(self.handoffs, self._wiring.inlets, strict=True):
            await inlet.channel.deliver_to(SlotInlet(self, handoff))

    async def fill(self) -> None:
        """Take all that arrives until every edge has ended.

        Raises:
            NodeSkipped: a slot gets nothing, because no edge into it was taken.
        """
        if self.filled is None:
            filled = Signal()
            await self.open(filled.give)
            while self.filled is None:
                await filled.wait()
        self._drop_branches_not_taken()

    def edge_ended(self) -> None:
        """Take note that one edge more has ended."""
        self._open -= 1
        if not self._open:
            self._close()

    def _close(self) -> None:
        self.filled = self._run.clock()
        if self.ahead is not None:
            self.ahead.filled()
        self._on_filled()

    def _drop_branches_not_taken(self) -> None:
        channels = self._wiring.channels
        if not any(channel.skipped for channel in channels):
            return
        slots = {handoff.edge.target_slot for handoff in self.handoffs}
        self.handoffs = [
            handoff for handoff, channel in zip(self.handoffs, channels, strict=True) if not channel.skipped
        ]
        if slots - {handoff.edge.target_slot for handoff in self.handoffs}:
            raise NodeSkipped

    def ids(self) -> dict[str, list[int]]:
        """Return the ids of each slot that takes ids; several edges follow each other in declared order."""
        return _joined(self.handoffs)

    def prompt(self) -> list[int]:
        """Return the prompt of a model, once every edge has ended.

        Raises:
            ForgedTokenError: content that holds a control id.
        """
        assert isinstance(self._node, BuiltAsking)
        if self._growing is not None:
            return self._growing.finish()
        return self._node.template.render(self.ids())

    def ids_came(self) -> None:
        """Take note that there is more in the slots."""
        if self.ahead is not None:
            self.ahead.ids_came()
        if self._growing is not None:
            self._growing.ids_came()

    def settled_prompt(self) -> list[int]:
        """Return the beginning of the prompt that can no longer change, before all edges have ended."""
        assert self._growing is not None
        return self._growing.so_far()

    def values(self) -> dict[str, list[int] | str]:
        """Return what each slot holds: ids, or text where it takes text."""
        values: dict[str, list[int] | str] = dict(self.ids())
        for handoff in self.handoffs:
            if handoff.edge.target_vocabulary is None:
                slot, text = handoff.edge.target_slot, "".join(handoff.text)
                before = values.get(slot)
                values[slot] = f"{before}{handoff.edge.separator}{text}" if slot in values else text
        return values


class SlotInlet:
    """Brings what arrives on one edge into its slot, which always has room: it holds all of it anyway."""

    __slots__ = ("_handoff", "_slots")

    def __init__(self, slots: Slots, handoff: Handoff) -> None:
        self._slots = slots
        self._handoff = handoff

    async def take(self, batch: Batch, /) -> None:
        """Take one batch."""
        self._handoff.take(batch)
        self._slots.ids_came()

    async def flush(self) -> None:
        """Do nothing yet: what is held back belongs to the end."""

    def end(self, *, skipped: bool) -> None:  # noqa: ARG002 - the channel keeps it until the slots are read
        """Take what was held back."""
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
