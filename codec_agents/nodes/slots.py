"""Fill the slots of a prompt from the edges that lead into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from codec_agents.channel import receive_all
from codec_agents.nodes.wiring import Wiring

if TYPE_CHECKING:
    from codec_agents.runtime import Run


class Slots:
    """The slots of one node, filled while their sources stream."""

    def __init__(self, wiring: Wiring, run: Run, separators: Mapping[str, Sequence[int]]) -> None:
        self._wiring = wiring
        self._separators = separators
        self.handoffs = [inlet.edge.open(run.clock) for inlet in wiring.inlets]

    async def fill(self) -> None:
        """Take all that arrives until every edge has ended."""
        channels = [inlet.channel for inlet in self._wiring.inlets]
        async for index, batches in receive_all(channels, self._wiring.ready):
            if batches:
                self.handoffs[index].take(batches)
            else:
                self.handoffs[index].finish()

    def ids(self) -> dict[str, list[int]]:
        """Return the ids of each slot; several edges into one slot follow each other in declared order."""
        slots: dict[str, list[int]] = {}
        for handoff in self.handoffs:
            slot = handoff.edge.target_port
            if slot in slots:
                slots[slot] += [*self._separators.get(slot, ()), *handoff.ids]
            else:
                slots[slot] = list(handoff.ids)
        return slots
