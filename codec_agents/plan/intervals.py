"""How many ids an engine may send per event, decided by who reads them.

Frames cost bytes and time, on both sides. A person who reads the stream wants each id; an edge into a prompt
only has to keep translation overlapped with decoding. The first id and the last come at once in any case, so
a handoff begins and ends as soon as with one id. Where a whole answer is read by functions alone, nothing
overlaps, and it is not streamed at all, unless it is long: the stall of a stream is noticed sooner
(`timeouts.idle`), and what had come of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from codec_agents.engines.base import WHOLE, gives_whole_answers
from codec_agents.plan.nodes import (
    BuiltEdge,
    BuiltFunction,
    BuiltJoin,
    BuiltModel,
    BuiltNode,
    BuiltRouter,
    BuiltSink,
)

GATHERED = 16
"""Ids per event into a prompt: far fewer bytes than with one, and no more is left to translate at the end.
More would save little, and a slow engine would seem silent for too long."""


SHORT = 256
"""The most ids of an answer that is not streamed: some seconds of an engine's time."""


def with_intervals(nodes: Mapping[str, BuiltNode], edges: Sequence[BuiltEdge]) -> dict[str, BuiltNode]:
    """Return the nodes of a plan, each model with the interval that its readers allow."""
    readers: dict[str, list[BuiltNode]] = {name: [] for name in nodes}
    for edge in edges:
        readers[edge.source_node].append(nodes[edge.target_node])
    return {name: _with_interval(node, readers) for name, node in nodes.items()}


def _with_interval(node: BuiltNode, readers: Mapping[str, Sequence[BuiltNode]]) -> BuiltNode:
    if isinstance(node, BuiltRouter):  # it ends its model's answer as soon as it decides
        return replace(node, stream_interval=WHOLE) if node.label_ids else node
    if not isinstance(node, BuiltModel):
        return node
    declared = node.declared_interval
    if declared is None:
        each = _needs_each(node) or _is_read_along(node.name, readers)
        declared = 1 if each else WHOLE if _only_its_end_counts(node, readers) else GATHERED
    return replace(node, stream_interval=declared)


def _only_its_end_counts(node: BuiltModel, readers: Mapping[str, Sequence[BuiltNode]]) -> bool:
    """Return whether an answer is short, goes into functions alone, and can come at once."""
    targets = readers[node.name]
    ends = bool(targets) and all(isinstance(target, BuiltFunction) for target in targets)
    return ends and node.options.max_tokens <= SHORT and gives_whole_answers(node.engine)


def _needs_each(node: BuiltModel) -> bool:
    """Return whether the node itself acts on ids as they come: early tools, a budget of reasoning."""
    return node.dispatcher.has_early_tools or node.policy.limits.reasoning_ids is not None


def _is_read_along(name: str, readers: Mapping[str, Sequence[BuiltNode]]) -> bool:
    """Return whether a sink, or an outer plan, may show the node's ids as they come."""
    seen, waiting = {name}, [name]
    while waiting:
        for target in readers[waiting.pop()]:
            if isinstance(target, BuiltSink):
                return True
            # Joins pass ids on. Each is seen once: joins of joins have more ways than can be walked.
            if isinstance(target, BuiltJoin) and target.name not in seen:
                seen.add(target.name)
                waiting.append(target.name)
    return False
