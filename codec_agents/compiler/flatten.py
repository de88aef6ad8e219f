"""A pipeline inside a pipeline becomes part of it: ids stream through, and nothing waits at its border.

The inputs and sinks of a nested pipeline are relays: an edge into one and an edge out of it become one edge.
Bodies of loops and maps are not taken apart, because they run several times.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from codec_agents.compiler.resources import Resources
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.kinds import VALUE, InputNode, Node, SinkNode
from codec_agents.graph.spec import PipelineNode, PipelineSpec


@dataclass(frozen=True, slots=True)
class FlatNode:
    """A node, with the declaration that it is in."""

    path: str
    """Its name in the whole pipeline; that of a nested node begins with the node that contains it."""
    node: Node
    spec: PipelineSpec
    """The declaration that it is in."""
    resources: Resources
    prefix: str = ""
    """The prefix of its own name and of its neighbours' names."""

    @property
    def name(self) -> str:
        """Its name in its own declaration."""
        return self.path.removeprefix(self.prefix)


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge between two flat nodes."""

    source: tuple[str, str]
    """Node and port."""
    target: tuple[str, str]
    """Node and slot."""
    edge: EdgeSpec


@dataclass(slots=True)
class FlatGraph:
    """All nodes and edges of a pipeline, with those of nested pipelines."""

    nodes: dict[str, FlatNode]
    wires: list[Wire]
    by_target: dict[str, list[Wire]] | None = field(default=None, repr=False)
    """The wires by the node at which they end, once asked for: a search for each node takes too long."""

    def into(self, node: str, slot: str | None = None) -> list[Wire]:
        """Return the edges into a node, or into one of its slots, in declared order."""
        if self.by_target is None:
            self.by_target = {}
            for wire in self.wires:
                self.by_target.setdefault(wire.target[0], []).append(wire)
        return [wire for wire in self.by_target.get(node, ()) if slot in (None, wire.target[1])]

    def entries(self, prefix: str) -> list[str]:
        """Return the nodes of a nested pipeline that nothing inside it feeds."""
        inside = [path for path in self.nodes if path.startswith(prefix)]
        fed = {wire.target[0] for wire in self.wires if wire.source[0].startswith(prefix)}
        return [path for path in inside if path not in fed]


def flatten(spec: PipelineSpec, resources: Resources, prefix: str = "") -> FlatGraph:
    """Return all nodes and edges, with nested pipelines dissolved."""
    flat = FlatGraph({}, [])
    relays: list[str] = []
    for name, node in spec.nodes.items():
        path = prefix + name
        if not isinstance(node, PipelineNode):
            flat.nodes[path] = FlatNode(path, node, spec, resources, prefix)
            continue
        inner = flatten(spec.body_of(name), resources.inside(name), f"{path}/")
        flat.nodes |= inner.nodes
        flat.wires += inner.wires
        # Removed below, when the edges from and to them are all there.
        relays += _ends(inner, f"{path}/")
    for link in spec.links:
        flat.wires.append(
            Wire(
                _source(spec, prefix, link.source_node, link.source_port),
                _target(spec, prefix, link.target_node, link.target_slot),
                link.edge,
            )
        )
    for relay in relays:
        _remove_relay(flat, relay)
    return flat


def _ends(inner: FlatGraph, prefix: str) -> list[str]:
    """Return the inputs and sinks of a nested pipeline itself, not of those deeper inside."""
    mine = (path for path, flat in inner.nodes.items() if flat.prefix == prefix)
    return [path for path in mine if isinstance(inner.nodes[path].node, InputNode | SinkNode)]


def _source(spec: PipelineSpec, prefix: str, node: str, port: str) -> tuple[str, str]:
    nested = isinstance(spec.nodes[node], PipelineNode)
    return (f"{prefix}{node}/{port}", VALUE) if nested else (prefix + node, port)


def _target(spec: PipelineSpec, prefix: str, node: str, slot: str) -> tuple[str, str]:
    nested = isinstance(spec.nodes[node], PipelineNode)
    return (f"{prefix}{node}/{slot}", "") if nested else (prefix + node, slot)


def _remove_relay(flat: FlatGraph, relay: str) -> None:
    """Join the edges into a relay with those from it; an input that uses its default stays a node."""
    before = flat.into(relay)
    after = [wire for wire in flat.wires if wire.source[0] == relay]
    # A sink without edges is removed all the same: nothing can leave by it.
    if not before and isinstance(flat.nodes[relay].node, InputNode):
        return
    joined: list[Wire] = []
    for wire in flat.wires:
        if wire in after:
            # The first of several sources, or a single one, meets others at the target alone: the separator
            # of the second edge is before it. The further ones meet those before them at the relay.
            joined += [_join(first, wire, behind_others=number > 0) for number, first in enumerate(before)]
        elif wire not in before:
            joined.append(wire)
    flat.wires[:] = joined
    flat.by_target = None
    del flat.nodes[relay]


def _join(first: Wire, second: Wire, *, behind_others: bool) -> Wire:
    # What either edge asks for is done, within the bounds that are declared.
    options = {
        "separator": first.edge.separator if behind_others else second.edge.separator,
        "keep_special": first.edge.keep_special or second.edge.keep_special,
        # The check refuses it on the first edge: that one ends at a sink, or at the whole pipeline.
        "prefill": second.edge.prefill,
        **_bounds(first.edge, second.edge),
        # The check refuses these two on the second edge: it begins at an input, or at the whole pipeline.
        "reasoning": first.edge.reasoning,
        "fallback": first.edge.fallback,
    }
    return replace(first, target=second.target, edge=first.edge.model_copy(update=options))


def _bounds(first: EdgeSpec, second: EdgeSpec) -> dict[str, int]:
    """Return the bounds that one of two edges declares; of two declared ones the closer."""
    # Not the closer of all: a default would undo a wider bound that the other edge was given. Those that
    # neither declares are left out, since what is copied into an edge is declared there from then on.
    bounds: dict[str, int] = {}
    for name in ("buffer", "prefill_stride", "prefill_budget"):
        declared = [getattr(edge, name) for edge in (first, second) if name in edge.model_fields_set]
        if declared:
            bounds[name] = min(declared)
    return bounds


def expand_target(graph: FlatGraph, router: FlatNode, name: str) -> list[str]:
    """Return the nodes that a router starts by a name: a node, or the entries of a nested pipeline."""
    path = router.prefix + name
    if isinstance(router.spec.nodes[name], PipelineNode):
        return graph.entries(f"{path}/")
    return [path]
