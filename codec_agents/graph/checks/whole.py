"""Rules about the whole declaration: circles, dead ends, unreachable and unused parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from codec_agents.faults import Fault
from codec_agents.graph.checks.base import Checked, CheckRule, error, warning
from codec_agents.graph.checks.topology import cycles, reachable, reversed_successors, successors
from codec_agents.graph.kinds import REASONING, TOOL_CALLS, Asking, InputNode, SinkNode
from codec_agents.graph.spec import Nested

MAX_CIRCLE = 20
"""Nodes of a circle that are named; the first ones lead to it."""


def _cycles(checked: Checked) -> Iterator[Fault]:
    for names in cycles(successors(checked.spec)):
        shown = names if len(names) <= MAX_CIRCLE else [*names[: MAX_CIRCLE - 1], "…"]
        circle = " -> ".join([*shown, names[0]])
        remedy = "put that part into a loop node, which has a limit of turns"
        yield error(("nodes", names[0]), f"a circle without a limit: {circle}", remedy)


def _unreachable(checked: Checked) -> Iterator[Fault]:
    """Report parts that no input and no self-starting node leads to, unless another rule explains them."""
    spec, after = checked.spec, successors(checked.spec)
    explained = {name for names in cycles(after) for name in names}
    explained |= {name for name in spec.nodes if checked.may_be_filled(name)}
    starts = [name for name, node in spec.nodes.items() if not node.slots and not isinstance(node, SinkNode)]
    # Nodes whose slots nothing fills are reported as such.
    starts += [name for name, node in spec.nodes.items() if node.slots and not checked.has_edges(name)]
    reached = reachable(after, [*starts, *explained])
    # A sink without edges is reported by `_sinks`.
    for name, node in spec.nodes.items():
        if name not in reached and not (isinstance(node, SinkNode) and not checked.into(name)):
            yield error(("nodes", name), "nothing leads to it", "add an edge, or remove it")


def _sinks(checked: Checked) -> Iterator[Fault]:
    for name, node in checked.spec.nodes.items():
        if isinstance(node, SinkNode) and not checked.into(name) and not checked.may_be_filled(name):
            yield error(
                ("nodes", name), "no edge leads to this sink", f"add an edge to `{name}`, or remove it"
            )
        if isinstance(node, SinkNode) and len([x for x in (node.to, node.file, node.call) if x]) > 1:
            yield error(("nodes", name), "more than one of `to`, `file` and `call`", "use a sink for each")
    # A node that could not be read may be one.
    if not any(isinstance(node, SinkNode) for node in checked.spec.nodes.values()) and not checked.unread:
        yield warning((), "nothing leaves the pipeline", "add a sink, and an edge to it")


def _unused(checked: Checked) -> Iterator[Fault]:
    spec = checked.spec
    # All edges, not only those whose ends exist: one that leads nowhere is a fault of its own.
    used = {edge.source_node for edge in spec.edges}
    before = reversed_successors(successors(spec))
    sinks = [name for name, node in spec.nodes.items() if isinstance(node, SinkNode)]
    # The edges of an unread node are unknown. Any node may lead to it, so none is reported as useless.
    useful = reachable(before, [*sinks, *(spec.nodes if checked.unread else ())])
    for name, node in spec.nodes.items():
        if isinstance(node, InputNode) and name not in used:
            yield warning(("nodes", name), "nothing uses this input", "add an edge from it, or remove it")
        # Without any sink, which `_sinks` reports, each node would be told.
        elif not isinstance(node, InputNode) and sinks and name not in useful:
            yield warning(
                ("nodes", name), "nothing that it gives reaches a sink", "add an edge, or remove it"
            )


def _suspicious_edges(checked: Checked) -> Iterator[Fault]:
    for link in checked.links:
        target = checked.spec.nodes[link.target_node]
        if link.source_port == TOOL_CALLS and isinstance(target, SinkNode) and target.text:
            found = f"{link.target_node!r} shows tool calls as text, in the form that the model writes them"
            yield warning(("edges", link.index), found, "make it a sink of ids, or read `run` events")
        if link.source_port == REASONING and isinstance(target, Asking):
            found = f"the reasoning of {link.source_node!r} goes into the prompt of {link.target_node!r}"
            yield warning(
                ("edges", link.index), found, f"use `{link.source_node}.answer` if that is not meant"
            )


def _mixed_sinks(checked: Checked) -> Iterator[Fault]:
    """Report a sink of ids that mixes maps: its ids can no longer be distinguished."""
    sources: dict[str, set[str | None]] = defaultdict(set)
    for link in checked.links:
        target, source = checked.spec.nodes[link.target_node], checked.spec.nodes[link.source_node]
        # Models alone: the map of other nodes is often that of what they are given, which the build finds.
        if isinstance(target, SinkNode) and not target.text and isinstance(source, Asking):
            sources[link.target_node].add(source.map)
    for name, maps in sources.items():
        if len(maps) > 1:
            found = f"it mixes ids of the maps {', '.join(sorted(map(str, maps)))}"
            yield warning(("nodes", name), found, "use a sink for each map")


def _unused_declarations(checked: Checked) -> Iterator[Fault]:
    spec = checked.spec
    # Pipelines inside nodes inherit what is declared, and may be those that name it.
    if checked.is_body or checked.unread or any(isinstance(node, Nested) for node in spec.nodes.values()):
        return
    engines = {spec.engine_name(node.engine) for node in spec.nodes.values() if isinstance(node, Asking)}
    maps = {getattr(node, "map", None) for node in spec.nodes.values()}
    for where, names, used in (("engines", spec.engines, engines), ("maps", spec.maps, maps)):
        for name in names:
            if name not in used:
                yield warning((where, name), f"no node uses {name!r}", "remove it, or name it in a node")


RULES: tuple[CheckRule, ...] = (
    _cycles,
    _unreachable,
    _sinks,
    _unused,
    _suspicious_edges,
    _mixed_sinks,
    _unused_declarations,
)
