"""The certainty that a prompt will be sent, as far as other nodes decide about it.

Before that, a request ahead that nothing declares could show an engine content that it would never see: a
function that checks the content raises, or a router chooses another branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from codec_agents.plan.nodes import BuiltRouter, may_be_overtaken

if TYPE_CHECKING:
    from codec_agents.plan.nodes import PromptedNode
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.handoff import Handoff


class Certainty:
    """Of one prompt: all that is left to happen before it is sent is that the models that write it finish."""

    def __init__(self, node: PromptedNode, context: NodeContext, handoffs: Sequence[Handoff]) -> None:
        """Begin without a look at the run.

        Args:
            node: the node that asks.
            context: where it runs.
            handoffs: all edges into the prompt.
        """
        self._node = node
        self._context = context
        self._handoffs = handoffs
        self._awaited: str | None = None
        """The path of a node that had not finished at the last look."""

    def reached(self) -> bool:
        """Return whether no other node can change any more that the prompt is sent."""
        nodes = self._context.plan.nodes
        # Asked again and again while the prompt grows; mostly, one node that is still open answers it.
        if self._context.run.stopping or (self._awaited is not None and self._is_open(self._awaited)):
            return False
        writing: set[str] = set()
        for handoff in self._handoffs:
            source = nodes[handoff.edge.source_node]
            if not self._is_open(source.path):
                continue
            if handoff.first_in is None or not may_be_overtaken(source, self._node):
                return False
            writing.add(source.name)
        # These may finish after the prompt was sent; every other node could fail, or decide otherwise.
        later = {self._node.name} | writing | _waiting_for(self._context.plan, writing)
        paths = (each.path for name, each in nodes.items() if name not in later)
        self._awaited = next(filter(self._is_open, paths), None)
        return self._awaited is None

    def _is_open(self, path: str) -> bool:
        """Return whether a node has not finished; one that waits for a decision has not."""
        return self._context.run.outcomes.get(path, "paused") == "paused"


def _waiting_for(plan: BuiltPipeline, names: Iterable[str]) -> set[str]:
    """Return the nodes that do nothing before these have finished."""
    behind: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        ports = plan.links[name].outgoing.values()
        numbers = (number for edges in ports for each in edges for number in each)
        targets = {plan.edges[number].target_node for number in numbers}
        if isinstance(node := plan.nodes[name], BuiltRouter):
            targets.update(*node.targets.values(), node.default or ())
        left += targets - behind
        behind |= targets
    # Maps, joins, and sinks that write somewhere work while ids arrive, and may fail meanwhile.
    return {name for name in behind if (node := plan.nodes[name]).passive or node.starts_when_inputs_complete}
