"""A join node: it takes several edges, all of them or the first ones to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.graph.kinds import VALUE
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.edges.channel import Arrivals
from codec_agents.runtime.edges.handoff import Handoff
from codec_agents.runtime.reporting import ask, report_decided, report_finished, report_started
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltJoin
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


async def run_join(node: BuiltJoin, wiring: Wiring, context: NodeContext) -> None:
    """Wait for as many edges as the node needs, abandon the others, and send what came."""
    handoffs = [Handoff(inlet.edge, context.run.clock) for inlet in wiring.inlets]
    recorded = _recorded(node, wiring)
    ended: list[int] = []
    async for index, batches in Arrivals(wiring.channels, wiring.ready):
        handoff = handoffs[index]
        if batches:
            for batch in batches:
                handoff.take(batch)
            continue
        handoff.finish()
        # In a replay the edges end in another order; those that the record took decide.
        if wiring.inlets[index].channel.skipped or (recorded and handoff.edge.source not in recorded):
            continue
        ended.append(index)
        if recorded:
            if len(ended) == len(recorded):
                break
        elif await _enough(node, [handoffs[index] for index in ended], context):
            break
    if not ended:
        raise NodeSkipped
    for index, inlet in enumerate(wiring.inlets):
        if index not in ended:
            inlet.channel.abandon()  # a source whose edges are all abandoned stops at its engine
    await _give(node, wiring, [handoffs[index] for index in sorted(ended)], context)


def _recorded(node: BuiltJoin, wiring: Wiring) -> frozenset[str]:
    """Return the sources that the join took in the replayed record; none without one of this join."""
    # A record of another declaration may name sources that are not there, which could never all end.
    recorded = frozenset(node.decided.get(node.path, ()))
    return recorded if recorded <= {inlet.edge.source for inlet in wiring.inlets} else frozenset()


async def _enough(node: BuiltJoin, ended: list[Handoff], context: NodeContext) -> bool:
    if node.until is not None:
        contents = {each.edge.source: _content(node, each) for each in ended}
        return await ask(node.until, node, context, bool, contents)
    return node.first is not None and len(ended) >= node.first


async def _give(node: BuiltJoin, wiring: Wiring, winners: list[Handoff], context: NodeContext) -> None:
    """Report the edges that are taken, and send their content."""
    sources = [winner.edge.source for winner in winners]
    await report_started(node, context)
    if node.first is not None or node.until is not None:
        await report_decided(node, context, *sources)
    await _send(node, wiring, winners)
    await report_finished(node, context, f"took {', '.join(sources)}")


async def _send(node: BuiltJoin, wiring: Wiring, winners: list[Handoff]) -> None:
    """Send the content of the edges that were taken, in declared order, with separators between."""
    for position, handoff in enumerate(winners):
        separator, content = handoff.edge.separator if position else "", _content(node, handoff)
        if isinstance(content, str):
            await wiring.send(VALUE, separator + content)
        else:
            assert node.vocabulary is not None
            await wiring.send(VALUE, [*pick_tokenizer(node.vocabulary).encode_ordinary(separator), *content])


def _content(node: BuiltJoin, handoff: Handoff) -> list[int] | str:
    return handoff.ids if node.vocabulary is not None else "".join(handoff.text)
