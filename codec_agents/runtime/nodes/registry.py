"""Which function runs which kind of node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from codec_agents.plan.plan import (
    BuiltFunction,
    BuiltJoin,
    BuiltLoop,
    BuiltMap,
    BuiltModel,
    BuiltNode,
    BuiltRouter,
    BuiltSink,
)
from codec_agents.runtime.model.node import run_model
from codec_agents.runtime.nodes.function import run_function
from codec_agents.runtime.nodes.join import run_join
from codec_agents.runtime.nodes.loop import run_loop
from codec_agents.runtime.nodes.map import run_map
from codec_agents.runtime.nodes.router import run_router
from codec_agents.runtime.nodes.sink import run_sink

if TYPE_CHECKING:
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.executor import Execution

Runner: TypeAlias = "Callable[[Any, Wiring, Execution], Awaitable[None]]"

RUNNERS: Mapping[type[BuiltNode], Runner] = {
    BuiltModel: run_model,
    BuiltRouter: run_router,
    BuiltFunction: run_function,
    BuiltJoin: run_join,
    BuiltMap: run_map,
    BuiltLoop: run_loop,
    BuiltSink: run_sink,
}


def run_node(node: BuiltNode, wiring: Wiring, execution: Execution) -> Awaitable[None]:
    """Run one node to its end, when awaited.

    Raises:
        NodeSkipped: the node is on a branch that was not taken.
        RunError: the node failed or reached a limit.
    """
    return RUNNERS[type(node)](node, wiring, execution)
