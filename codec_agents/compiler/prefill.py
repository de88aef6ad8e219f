"""How the edges into prompts are sent ahead: as they declare it, as their engine does, or by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from codec_agents.compiler.flatten import FlatNode, Wire
from codec_agents.engines.base import caches_prompts
from codec_agents.graph.kinds import Asking
from codec_agents.plan.nodes import BuiltNode, PromptedNode, may_be_overtaken

Mode: TypeAlias = Literal["ahead", "auto", "default", "off"]


def prefill_modes(
    wires: Sequence[Wire],
    flat: Mapping[str, FlatNode],
    nodes: Mapping[str, BuiltNode],
    *,
    is_body: bool,
) -> list[Mode]:
    """Return how each edge is sent ahead.

    Nothing is by default sent to a node of which another edge is declared: edges into one prompt share one
    series of requests. Nor inside a loop or a map, where what happens around it may still end the run.
    """
    declared = [_declared(wire, flat[wire.target[0]]) for wire in wires]
    named = {wire.target[0] for wire, mode in zip(wires, declared, strict=True) if mode is not None}
    sources: dict[str, list[BuiltNode]] = {}
    for wire in wires:
        sources.setdefault(wire.target[0], []).append(nodes[wire.source[0]])
    by_default = {
        name
        for name, read in sources.items()
        if not is_body and name not in named and _may_be_sent(nodes[name], read)
    }
    return [
        mode or ("default" if wire.target[0] in by_default else "off")
        for wire, mode in zip(wires, declared, strict=True)
    ]


def _declared(wire: Wire, target: FlatNode) -> Mode | None:
    if wire.edge.prefill is not None or not isinstance(target.node, Asking):
        return wire.edge.prefill
    engine = target.spec.engine_of(target.node.engine)
    return None if engine is None else engine.prefill


def _may_be_sent(node: BuiltNode, sources: Sequence[BuiltNode]) -> bool:
    """Return whether a prompt may be sent ahead by default, for what is known before a run.

    Not to a node that may never run, nor where the prompt may be shortened before it is sent, nor without a
    model on another engine that the prompt waits for: then there is no time in which it could be sent.
    """
    if not isinstance(node, PromptedNode) or node.conditional or node.policy.on_overflow != "fail":
        return False
    return caches_prompts(node.engine) and any(may_be_overtaken(source, node) for source in sources)
