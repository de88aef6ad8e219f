"""A function node: a Python callable on ids, or on text where it says so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from codec_agents.graph.kinds import VALUE
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.nodes.returned import checked_value
from codec_agents.runtime.reporting import ask, report_finished, report_started
from codec_agents.runtime.wall_time import WallTime

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltFunction
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


async def run_function(node: BuiltFunction, wiring: Wiring, context: NodeContext) -> None:
    """Call the function once, when all its arguments are complete, and send its result."""
    slots = Slots.at(node, wiring, context)
    await slots.fill()
    await report_started(node, context)
    with WallTime(node, wiring):
        value = await ask(node.call, node, context, partial(_checked, node), **slots.values())
    await wiring.send(VALUE, value)
    await report_finished(node, context, "returned")


def _checked(node: BuiltFunction, result: Any) -> list[int] | str:
    return checked_value(node.path, node.vocabulary, result, "the function returned")
