"""How the edges into prompts are sent ahead: as they declare it, as their engine does, or by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from codec_agents.compiler.flatten import FlatNode, Wire
from codec_agents.engines.base import caches_prompts
from codec_agents.graph.kinds import Asking
from codec_agents.plan.nodes import BuiltInput, BuiltNode, PromptedNode

Mode: TypeAlias = Literal["ahead", "auto", "default", "off"]


def prefill_modes(
    wires: Sequence[Wire], flat: Mapping[str, FlatNode], nodes: Mapping[str, BuiltNode]
) -> list[Mode]:
    """Return how each edge is sent ahead.

    Nothing is by default sent to a node of which another edge is declared: edges into one prompt share one
    series of requests. Nor to one that may never run, whose engine would see content that is perhaps not
    meant for it. Nor to one that inputs alone fill, whose prompt is complete at once.
    """
    declared = [_declared(wire, flat[wire.target[0]]) for wire in wires]
    named = {wire.target[0] for wire, mode in zip(wires, declared, strict=True) if mode is not None}
    waiting = {wire.target[0] for wire in wires if not isinstance(nodes[wire.source[0]], BuiltInput)}
    by_default = {name for name in waiting - named if _may_be_sent(nodes[name])}
    return [
        mode or ("default" if wire.target[0] in by_default else "off")
        for wire, mode in zip(wires, declared, strict=True)
    ]


def _declared(wire: Wire, target: FlatNode) -> Mode | None:
    if wire.edge.prefill is not None or not isinstance(target.node, Asking):
        return wire.edge.prefill
    engine = target.spec.engine_of(target.node.engine)
    return None if engine is None else engine.prefill


def _may_be_sent(node: BuiltNode) -> bool:
    return isinstance(node, PromptedNode) and not node.conditional and caches_prompts(node.engine)
