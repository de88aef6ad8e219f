"""A model node: fill the prompt, ask for a turn, run the tools it calls, go on until it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.events import NodeFinished
from codec_agents.plan.plan import declared_path
from codec_agents.runtime.control import STOPPED, NodeSkipped
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.model.conversation import Conversation
from codec_agents.runtime.reporting import tell_started
from codec_agents.runtime.wall_time import WallTime

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltModel
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.executor import Execution


async def run_model(node: BuiltModel, wiring: Wiring, execution: Execution) -> None:
    """Run one model node to its end."""
    run = execution.run
    slots = Slots.at(node, wiring, execution)
    await slots.fill()
    if run.stopping:
        raise NodeSkipped(STOPPED)
    with run.scope.node(declared_path(node.path), node.model) as scope:
        await tell_started(node, execution)
        conversation = Conversation(node, wiring, execution, scope, slots)
        try:
            with WallTime(node, wiring):
                reason = await conversation.hold(node)
        finally:
            node.dispatcher.forget(run.run_id)
    await run.emit(NodeFinished(node.path, "finished", reason, run.usage[node.path], run.clock()))
