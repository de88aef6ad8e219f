"""A model node: fill the prompt, ask for a turn, run the tools it calls, repeat until it calls none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.events import NodeFinished
from codec_agents.plan.nodes import declared_path
from codec_agents.runtime.control import STOPPED, NodeSkipped
from codec_agents.runtime.model.conversation import Conversation
from codec_agents.runtime.model.prompt_slots import PromptSlots
from codec_agents.runtime.reporting import report_started
from codec_agents.runtime.wall_time import WallTime

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltModel
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


async def run_model(node: BuiltModel, wiring: Wiring, context: NodeContext) -> None:
    """Run one model node until its answer is complete."""
    run = context.run
    slots = PromptSlots.at(node, wiring, context)
    await slots.fill()
    if run.ends_here(node.path, STOPPED):
        raise NodeSkipped(STOPPED)
    with run.telemetry.node(declared_path(node.path), node.model) as scope:
        await report_started(node, context)
        conversation = Conversation(node, wiring, context, scope, slots)
        try:
            with node.measured.node_asks(), WallTime(node, wiring):
                reason = await conversation.hold(node)
        finally:  # the dispatcher belongs to the plan, and outlives the run whose calls it counts
            node.dispatcher.forget(run.run_id)
    await run.emit(NodeFinished(node.path, "finished", reason, run.usage[node.path], run.clock()))
