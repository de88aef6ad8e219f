"""Edges with both ends resolved: which port, which slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from codec_agents.faults import MAX_FAULTS, Fault, suggest
from codec_agents.graph.base import place_name
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.kinds import InputNode, Node, SinkNode


@dataclass(frozen=True, slots=True)
class Link:
    """An edge whose ends are known."""

    index: int
    """Its position among the declared edges, which is also the order within a slot."""
    edge: EdgeSpec
    source_node: str
    source_port: str
    target_node: str
    target_slot: str
    """Empty at a sink."""

    @property
    def source(self) -> str:
        """The beginning as `node.port`."""
        return f"{self.source_node}.{self.source_port}"

    @property
    def target(self) -> str:
        """The end as `node.slot`, or the sink's name."""
        return f"{self.target_node}.{self.target_slot}" if self.target_slot else self.target_node


class EdgeFaultError(Exception):
    """One end of an edge leads nowhere."""

    def __init__(self, field: str, found: str, remedy: str | Callable[[], str]) -> None:
        """Keep the fault.

        Args:
            field: the end, `from` or `to`.
            found: the fault in words.
            remedy: the remedy, or a function that returns it, where it takes a search.
        """
        super().__init__(found)
        self.field = field
        self.found = found
        self._remedy = remedy

    def fault(self, index: int) -> Fault:
        """Return the fault of an edge.

        Args:
            index: the position of the edge in the declaration.
        """
        remedy = self._remedy if isinstance(self._remedy, str) else self._remedy()
        return Fault(place_name(("edges", index, self.field)), self.found, remedy)


def resolve(nodes: Mapping[str, Node], edges: Sequence[EdgeSpec]) -> tuple[list[Link], list[Fault]]:
    """Return the edges whose ends exist, and a fault for each end that does not."""
    links: list[Link] = []
    faults: list[Fault] = []
    for index, edge in enumerate(edges):
        ends = []
        for find in (_source, _target):
            try:
                ends.append(find(nodes, edge))
            except EdgeFaultError as error:
                # A remedy takes a search for a similar name: it is not made for a fault that is not reported.
                if len(faults) < MAX_FAULTS:
                    faults.append(error.fault(index))
        if len(ends) == 2:
            (source_node, source_port), (target_node, target_slot) = ends
            links.append(Link(index, edge, source_node, source_port, target_node, target_slot))
    return links, faults


def _source(nodes: Mapping[str, Node], edge: EdgeSpec) -> tuple[str, str]:
    name = edge.source_node
    node = _node(nodes, name, "from")
    # Before the port, which a sink lacks: one fault is enough.
    if isinstance(node, SinkNode):
        raise EdgeFaultError("from", f"{name!r} is a sink; nothing leaves it", "begin at the node before it")
    return name, _end(edge.source_port, node.default_port, node.ports, "from", name, "port")


def _target(nodes: Mapping[str, Node], edge: EdgeSpec) -> tuple[str, str]:
    name, slot = edge.target_node, edge.target_slot
    node = _node(nodes, name, "to")
    # Inputs are checked first: they have no slots, but that would not say why.
    if isinstance(node, InputNode):
        raise EdgeFaultError("to", f"{name!r} is an input; only the caller fills it", "end at another node")
    if isinstance(node, SinkNode):
        if slot is not None:
            raise EdgeFaultError("to", f"the sink {name!r} has no slots", f"write {name!r} alone")
        return name, ""
    return name, _end(slot, node.default_slot, node.slots, "to", name, "slot")


def _end(
    named: str | None, default: str | None, ends: Sequence[str], field: str, node: str, what: str
) -> str:
    """Return the port or slot that an edge names, or the default one of its node.

    Raises:
        EdgeFaultError: the node has none of this name, or no default.
    """
    if named is None:
        if default is None:
            count = f"several {what}s" if ends else f"no {what}s"
            raise EdgeFaultError(field, f"{node!r} has {count}", _choices(node, ends, what))
        return default
    if named not in ends:
        raise EdgeFaultError(
            field, f"{node!r} has no {what} {named!r}", partial(suggest, named, ends, f"{what}s")
        )
    return named


def _node(nodes: Mapping[str, Node], name: str, field: str) -> Node:
    if name not in nodes:
        raise EdgeFaultError(field, f"there is no node {name!r}", partial(suggest, name, nodes, "nodes"))
    return nodes[name]


def _choices(name: str, ends: Sequence[str], what: str) -> str:
    if not ends:
        return f"give the node a {what}, or leave the edge out"
    return f"name the {what}: {', '.join(f'{name}.{end}' for end in ends)}"
