"""Rules about the content of edges: text, or ids of a map."""

from __future__ import annotations

from collections.abc import Iterator

from codec_agents.faults import Fault
from codec_agents.graph.checks.base import Checked, CheckRule, error
from codec_agents.graph.checks.topology import reachable
from codec_agents.graph.kinds import FunctionNode, InputNode, JoinNode, SinkNode


def _text_into_ids(checked: Checked) -> Iterator[Fault]:
    """Report text that meets a node of ids without a map to encode it with."""
    texts = _text_sources(checked)
    for link in checked.links:
        if link.source_node not in texts:
            continue
        target = checked.spec.nodes[link.target_node]
        # Models and routers encode text with their own map; a join without one is checked by `_mixed_joins`.
        if isinstance(target, SinkNode) and not target.text:
            found = f"{link.source!r} gives text, and the sink takes ids"
            yield error(("edges", link.index), found, "make it a text sink, or begin at a node with a map")
        elif isinstance(target, FunctionNode) and target.wants == "ids" and target.map is None:
            found = f"{link.source!r} gives text, and {link.target_node!r} has no map to encode it with"
            yield error(("nodes", link.target_node), found, "give the function a `map`, or `wants: text`")


def _text_sources(checked: Checked) -> set[str]:
    """Return the nodes whose port gives text: inputs and functions of text, and joins of those."""
    nodes = checked.spec.nodes
    joins: dict[str, list[str]] = {name: [] for name in nodes}
    for link in checked.links:
        target = nodes[link.target_node]
        if isinstance(target, JoinNode) and target.map is None:
            joins[link.source_node].append(link.target_node)
    return reachable(
        joins,
        (
            name
            for name, node in nodes.items()
            if (isinstance(node, InputNode) and node.type == "text")
            or (isinstance(node, FunctionNode) and node.wants == "text")
        ),
    )


def _mixed_joins(checked: Checked) -> Iterator[Fault]:
    texts = _text_sources(checked)
    for name, node in checked.spec.nodes.items():
        if isinstance(node, JoinNode) and node.map is None:
            kinds = {link.source_node in texts for link in checked.into(name, "value")}
            if len(kinds) == 2:
                yield error(
                    ("nodes", name), "it joins text and ids", "give it a `map`, in which both are ids"
                )


RULES: tuple[CheckRule, ...] = (
    _text_into_ids,
    _mixed_joins,
)
