"""The declaration under check, as all rules see it, and the form of a rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from codec_agents.faults import Fault
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
    lost: Mapping[str, Sequence[EdgeSpec]]
    """The edges with an unknown end, by the node that they name as their target."""

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
        lost: dict[str, list[EdgeSpec]] = defaultdict(list)
        for index, edge in enumerate(spec.edges):
            if index not in followed:
                lost[edge.target_node].append(edge)
        reported = _without(faults, spec, unread)
        return cls(spec, links, reported, unread, is_body, dict(by_target), dict(lost))

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
        lost = self.lost.get(name, ())
        return any(
            slot is None or _means(edge.target_slot, slot, self.spec.nodes[name].slots) for edge in lost
        )


def _without(faults: Sequence[Fault], spec: PipelineSpec, unread: frozenset[str]) -> Sequence[Fault]:
    """Return the faults without those of edges whose other end is a node that could not be read."""
    if not unread:
        return faults
    ends = {("edges", i, "from"): edge.source_node for i, edge in enumerate(spec.edges)}
    ends |= {("edges", i, "to"): edge.target_node for i, edge in enumerate(spec.edges)}
    excused = {place_name(place) for place, node in ends.items() if node in unread}
    return [fault for fault in faults if fault.place not in excused]


def _means(written: str | None, slot: str, slots: tuple[str, ...]) -> bool:
    """Return whether the slot that an edge names was meant to be a given slot."""
    if written is None or written == slot or len(slots) == 1:
        return True
    return written not in slots and get_close_matches(written, slots, n=1) == [slot]


CheckRule: TypeAlias = Callable[[Checked], Iterator[Fault]]
"""Yields the faults of a declaration of one kind."""


def error(place: Place, found: str, remedy: str) -> Fault:
    """Return a fault that keeps the pipeline from being built."""
    return Fault(place_name(place), found, remedy)


def warning(place: Place, found: str, remedy: str) -> Fault:
    """Return a fault that is legal and suspicious."""
    return Fault(place_name(place), found, remedy, "warning")
