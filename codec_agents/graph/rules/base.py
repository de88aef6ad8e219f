"""What all rules need to know about a declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from codec_agents.graph.base import Place, place_name
from codec_agents.graph.faults import Fault
from codec_agents.graph.links import Link, resolve
from codec_agents.graph.spec import PipelineSpec


@dataclass(frozen=True, slots=True)
class Checked:
    """A declaration under check, with its edges followed as far as they lead."""

    spec: PipelineSpec
    links: list[Link]
    edge_faults: list[Fault]
    unread: frozenset[str] = frozenset()
    """Nodes that are declared but could not be read: what names them is not at fault."""
    is_body: bool = False
    """Whether the pipeline stands inside a node."""

    @classmethod
    def of(
        cls, spec: PipelineSpec, unread: frozenset[str] = frozenset(), *, is_body: bool = False
    ) -> Checked:
        """Follow the edges of a declaration."""
        links, faults = resolve(spec.nodes, spec.edges)
        if unread:
            ends = {(i, "from"): edge.source_node for i, edge in enumerate(spec.edges)}
            ends |= {(i, "to"): edge.target_node for i, edge in enumerate(spec.edges)}
            excused = {place_name(("edges", *end)) for end, node in ends.items() if node in unread}
            faults = [fault for fault in faults if fault.place not in excused]
        return cls(spec, links, faults, unread, is_body)

    def into(self, name: str, slot: str = "") -> list[Link]:
        """Return the edges into one slot of a node, or into a sink."""
        return [link for link in self.links if link.target_node == name and link.target_slot == slot]

    def has_edges(self, name: str) -> bool:
        """Whether any edge ends at a node."""
        return any(link.target_node == name for link in self.links)

    def may_be_filled(self, name: str, slot: str | None = None) -> bool:
        """Whether an edge that leads nowhere was meant for a node, or for one of its slots.

        That edge is the fault; what it leaves empty is not told a second time.
        """
        followed = {link.index for link in self.links}
        lost = [
            edge for i, edge in enumerate(self.spec.edges) if i not in followed and edge.target_node == name
        ]
        return any(
            slot is None or _means(edge.target_slot, slot, self.spec.nodes[name].slots) for edge in lost
        )


def _means(written: str | None, slot: str, slots: tuple[str, ...]) -> bool:
    """Whether what stands in an edge was meant for a slot."""
    if written is None or written == slot or len(slots) == 1:
        return True
    return written not in slots and get_close_matches(written, slots, n=1) == [slot]


Rule: TypeAlias = Callable[[Checked], Iterator[Fault]]
"""Yield what is wrong with a declaration in one respect."""


def error(place: Place, found: str, remedy: str) -> Fault:
    """Return a fault that keeps the pipeline from being built."""
    return Fault(place_name(place), found, remedy)


def warning(place: Place, found: str, remedy: str) -> Fault:
    """Return a fault that is legal and suspicious."""
    return Fault(place_name(place), found, remedy, "warning")
