"""The declaration under check, as all rules see it, and the form of a rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from codec_agents.faults import MAX_COMPARED, Fault
from codec_agents.graph.base import Place, place_name
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.links import Link, resolve
from codec_agents.graph.spec import PipelineSpec


@dataclass(frozen=True, slots=True)
class Checked:
    """A declaration under check, with its edges resolved as far as possible."""

    spec: PipelineSpec
    links: Sequence[Link]
    edge_faults: Sequence[Fault]
    unread: frozenset[str]
    """Nodes that are declared but could not be read; an edge that names one is not at fault."""
    is_body: bool
    """True if the pipeline is the body of a node."""
    by_target: Mapping[tuple[str, str], Sequence[Link]]
    lost: Mapping[str, frozenset[str]]
    """By the node that they name as their target: the slots that edges with an unknown end were meant for."""

    @classmethod
    def of(
        cls, spec: PipelineSpec, unread: frozenset[str] = frozenset(), *, is_body: bool = False
    ) -> Checked:
        """Resolve the edges of a declaration."""
        links, faults = resolve(spec.nodes, spec.edges)
        by_target: dict[tuple[str, str], list[Link]] = defaultdict(list)
        for link in links:
            by_target[link.target_node, link.target_slot].append(link)
        # An edge with one good end is lost as well: what it was meant to fill is told once, as its own fault.
        followed = {link.index for link in links}
        lost = [edge for index, edge in enumerate(spec.edges) if index not in followed]
        reported = _without(faults, spec, unread)
        return cls(spec, links, reported, unread, is_body, dict(by_target), _meant(lost, spec))

    def into(self, name: str, slot: str = "") -> Sequence[Link]:
        """Return the edges into one slot of a node, or into a sink."""
        return self.by_target.get((name, slot), ())

    def has_edges(self, name: str) -> bool:
        """Return whether any edge ends at a node."""
        return any((name, slot) in self.by_target for slot in (*self.spec.nodes[name].slots, ""))

    def may_be_filled(self, name: str, slot: str | None = None) -> bool:
        """Return whether an edge with an unknown end was meant for a node, or for one of its slots.

        That edge is the fault; the slot that it leaves empty is not reported again.
        """
        return name in self.lost and (slot is None or slot in self.lost[name])


def _without(faults: Sequence[Fault], spec: PipelineSpec, unread: frozenset[str]) -> Sequence[Fault]:
    """Return the faults without those of edges whose other end is a node that could not be read."""
    if not unread:
        return faults
    ends = {("edges", i, "from"): edge.source_node for i, edge in enumerate(spec.edges)}
    ends |= {("edges", i, "to"): edge.target_node for i, edge in enumerate(spec.edges)}
    excused = {place_name(place) for place, node in ends.items() if node in unread}
    return [fault for fault in faults if fault.place not in excused]


def _meant(lost: Sequence[EdgeSpec], spec: PipelineSpec) -> dict[str, frozenset[str]]:
    """Return the slots that edges were meant for, by node: those that they name, or the closest ones."""
    meant: dict[str, set[str]] = defaultdict(set)
    compared = 0
    for edge in lost:
        node, written = spec.nodes.get(edge.target_node), edge.target_slot
        slots = () if node is None else node.slots
        if written is None or len(slots) == 1:
            meant[edge.target_node].update(slots)
        # Each comparison is a search: after so many, faults may repeat what an edge's own fault says.
        elif written in slots or compared >= MAX_COMPARED:
            meant[edge.target_node].add(written)
        else:
            compared += 1
            meant[edge.target_node].update(get_close_matches(written, slots[:MAX_COMPARED], n=1))
    return {name: frozenset(slots) for name, slots in meant.items()}


CheckRule: TypeAlias = Callable[[Checked], Iterator[Fault]]
"""Yields the faults of a declaration of one kind."""


def error(place: Place, found: str, remedy: str) -> Fault:
    """Return a fault that keeps the pipeline from being built."""
    return Fault(place_name(place), found, remedy)


def warning(place: Place, found: str, remedy: str) -> Fault:
    """Return a fault that is legal and suspicious."""
    return Fault(place_name(place), found, remedy, "warning")
