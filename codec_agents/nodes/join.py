"""A join node: several edges brought together, all of them or the first ones to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.channel import Arrivals
from codec_agents.graph.nodes import VALUE
from codec_agents.handoff import Handoff
from codec_agents.nodes.function import call
from codec_agents.nodes.skipping import NodeSkipped
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.built import BuiltJoin
    from codec_agents.execution import Execution
    from codec_agents.nodes.wiring import Wiring


async def run_join(node: BuiltJoin, wiring: Wiring, execution: Execution) -> None:
    """Wait for as many edges as the node wants; stop the nodes behind the others; send what came."""
    handoffs = [Handoff(inlet.edge, execution.run) for inlet in wiring.inlets]
    ended: list[int] = []
    async for index, batches in Arrivals(wiring.channels, wiring.ready):
        if batches:
            for batch in batches:
                handoffs[index].take(batch)
            continue
        handoffs[index].finish()
        if not wiring.inlets[index].channel.skipped:
            ended.append(index)
            if await _enough(node, handoffs, ended):
                break
    if not ended:
        raise NodeSkipped
    for index, inlet in enumerate(wiring.inlets):
        if index not in ended:
            inlet.channel.abandon()
    await _send(node, wiring, [handoffs[index] for index in sorted(ended)])


async def _enough(node: BuiltJoin, handoffs: list[Handoff], ended: list[int]) -> bool:
    if node.until is not None:
        return bool(
            await call(node.until, {handoffs[index].edge.source: handoffs[index].ids for index in ended})
        )
    return node.first is not None and len(ended) >= node.first


async def _send(node: BuiltJoin, wiring: Wiring, winners: list[Handoff]) -> None:
    """Send what the winners gave, in the declared order of the edges, with the separators between."""
    for position, handoff in enumerate(winners):
        separator = handoff.edge.separator if position else ""
        if node.vocabulary is None:
            await wiring.send(VALUE, separator + "".join(handoff.text))
        else:
            await wiring.send(
                VALUE, [*pick_tokenizer(node.vocabulary).encode_ordinary(separator), *handoff.ids]
            )
