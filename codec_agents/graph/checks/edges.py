"""Rules about edges: their ends, their options, and what fills a slot."""

from __future__ import annotations

from collections.abc import Iterator

from codec_agents.faults import Fault
from codec_agents.graph.checks.base import Checked, CheckRule, error
from codec_agents.graph.kinds import Asking, FunctionNode, InputNode, ModelNode, Node
from codec_agents.graph.spec import PipelineNode


def _edge_ends(checked: Checked) -> Iterator[Fault]:
    yield from checked.edge_faults


def _unfilled_slots(checked: Checked) -> Iterator[Fault]:
    for name, node in checked.spec.nodes.items():
        for slot in node.slots:
            if slot in node.optional_slots or checked.may_be_filled(name, slot):
                continue
            if not checked.into(name, slot):
                place = ("nodes", name, *_slot_place(node, slot))
                yield error(place, f"nothing fills the slot {slot!r}", f"add an edge to `{name}.{slot}`")


def _slot_place(node: Node, slot: str) -> tuple[str, ...]:
    """Return where in a node a slot is written."""
    if isinstance(node, Asking):
        for field in ("system", "user"):
            if f"{{{slot}}}" in (getattr(node.prompt, field, None) or ""):
                return ("prompt", field)
        return ("prompt",)
    return ("inputs",) if isinstance(node, FunctionNode) else ()


def _repeated_edges(checked: Checked) -> Iterator[Fault]:
    first: dict[tuple[str, str], int] = {}
    for link in checked.links:
        ends = (link.source, link.target)
        if ends in first:
            found = f"the same edge as edges[{first[ends]}], {link.source} -> {link.target}"
            yield error(("edges", link.index), found, "remove one: the content would arrive twice")
        first.setdefault(ends, link.index)


def _edge_options(checked: Checked) -> Iterator[Fault]:
    for link in checked.links:
        source, target = checked.spec.nodes[link.source_node], checked.spec.nodes[link.target_node]
        if link.edge.prefill is not None and not isinstance(target, Asking):
            place = ("edges", link.index, "prefill")
            yield error(place, f"{link.target_node!r} has no prompt to read ahead", "remove `prefill`")
        if link.edge.reasoning and not (isinstance(source, ModelNode) and link.source_port == "answer"):
            place = ("edges", link.index, "reasoning")
            yield error(
                place, "only the answer of a model comes with reasoning", "begin at a model's `answer`"
            )


def _fallbacks(checked: Checked) -> Iterator[Fault]:
    sources = {link.source_node for link in checked.links if link.edge.fallback}
    for link in checked.links:
        # With the pipeline's policy: `on_failure: fallback` may be set there for all nodes.
        policy, source = checked.spec.policy_of(link.source_node), checked.spec.nodes[link.source_node]
        if link.edge.fallback and isinstance(source, InputNode):
            found = f"the fallback edge is never taken: {link.source_node!r} is an input, which does not fail"
            yield error(("edges", link.index, "fallback"), found, "begin at the node that may fail")
        elif link.edge.fallback and isinstance(source, PipelineNode):
            found = f"the fallback edge is never taken: {link.source_node!r} is taken apart, its nodes fail"
            remedy = "put the fallback edge inside it, at the node that may fail"
            yield error(("edges", link.index, "fallback"), found, remedy)
        elif link.edge.fallback and policy.on_failure != "fallback":
            found = (
                f"the fallback edge is never taken: {link.source_node!r} has on_failure {policy.on_failure!r}"
            )
            remedy = f"set `policy: {{on_failure: fallback}}` on {link.source_node!r}"
            yield error(("edges", link.index, "fallback"), found, remedy)
    for name, node in checked.spec.nodes.items():
        # The node's own: where only the pipeline's sets it, nodes without such an edge fail the run.
        sets_it = node.policy is not None and node.policy.on_failure == "fallback"
        if sets_it and name not in sources:
            remedy = f"add an edge from {name!r} with `fallback: true`"
            yield error(("nodes", name, "policy", "on_failure"), "there is no fallback edge", remedy)


RULES: tuple[CheckRule, ...] = (
    _edge_ends,
    _unfilled_slots,
    _repeated_edges,
    _edge_options,
    _fallbacks,
)
