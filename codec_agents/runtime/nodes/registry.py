"""The function that runs each kind of node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from codec_agents.plan.nodes import BuiltFunction, BuiltJoin, BuiltModel, BuiltNode, BuiltRouter, BuiltSink
from codec_agents.plan.plan import BuiltLoop, BuiltMap
from codec_agents.runtime.model.node import run_model
from codec_agents.runtime.nodes.function import run_function
from codec_agents.runtime.nodes.join import run_join
from codec_agents.runtime.nodes.loop import run_loop
from codec_agents.runtime.nodes.map import run_map
from codec_agents.runtime.nodes.router import run_router
from codec_agents.runtime.nodes.sink import run_sink

if TYPE_CHECKING:
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring

Runner: TypeAlias = "Callable[[Any, Wiring, NodeContext], Awaitable[None]]"

RUNNERS: Mapping[type[BuiltNode], Runner] = {
    BuiltModel: run_model,
    BuiltRouter: run_router,
    BuiltFunction: run_function,
    BuiltJoin: run_join,
    BuiltMap: run_map,
    BuiltLoop: run_loop,
    BuiltSink: run_sink,
}


def run_node(node: BuiltNode, wiring: Wiring, context: NodeContext) -> Awaitable[None]:
    """Run one node; the result has to be awaited.

    Raises:
        NodeSkipped: the node is on a branch that was not taken.
        RunError: the node failed or reached a limit.
    """
    return RUNNERS[type(node)](node, wiring, context)
