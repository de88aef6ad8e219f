"""The slots of a node that asks a model: together they are its prompt, prepared while they fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.engines.base import preparing
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.model.prefill import Prefill, edges_ahead
from codec_agents.runtime.model.preparation import Preparation
from codec_agents.runtime.model.prompt import IncrementalPrompt

if TYPE_CHECKING:
    from codec_agents.plan.nodes import PromptedNode
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


class PromptSlots(Slots):
    """Slots that assemble the prompt, and prepare the engine, before the last edge has ended."""

    __slots__ = ("_node", "_preparation", "_prompt")

    def __init__(self, node: PromptedNode, wiring: Wiring, context: NodeContext) -> None:
        super().__init__(node, wiring, context)
        self._node = node
        self._prompt: IncrementalPrompt | None = None
        """None where nothing is prepared: rendering the whole prompt at the end is cheaper than in steps."""
        self._preparation: Preparation | None = None
        edges = [handoff.edge for handoff in self.handoffs if handoff.edge.prefill]
        if edges:
            edges = edges_ahead(node, edges)
        if edges or preparing(node.engine) is not None:
            self._prompt = IncrementalPrompt(node, list(zip(self.handoffs, wiring.channels, strict=True)))
            prefill = Prefill(node, self._prompt, context, edges, self.handoffs) if edges else None
            self._preparation = Preparation(node, context, self._prompt, prefill)
            self.on_ids = self._preparation.ids_came

    async def fill(self) -> None:
        """Wait until every edge has ended, and until the engine can use what it was sent ahead.

        Raises:
            NodeSkipped: a slot stays empty, because no edge into it was taken.
        """
        await super().fill()
        if self._preparation is not None:
            await self._preparation.end()

    def _close(self) -> None:
        if self._preparation is not None:
            # The request is sent next: nothing may be in its way. This comes before the node can start.
            self._preparation.stop()
        super()._close()

    def prompt(self) -> list[int]:
        """Return the prompt, once every edge has ended.

        Raises:
            ForgedTokenError: content contains a control id.
        """
        if self._prompt is not None:
            return self._prompt.finish()
        return self._node.template.render(self.ids())

    @property
    def prefilled_ids(self) -> int:
        """How many ids of the prompt the engine was sent ahead of the request."""
        return 0 if self._preparation is None else self._preparation.prefilled_ids
