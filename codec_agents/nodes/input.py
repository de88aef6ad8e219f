"""An input node: what the caller gave enters the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.graph.nodes import VALUE

if TYPE_CHECKING:
    from codec_agents.built import BuiltInput
    from codec_agents.execution import Execution
    from codec_agents.nodes.wiring import Wiring


async def run_input(node: BuiltInput, wiring: Wiring, execution: Execution) -> None:
    """Send the value of one input."""
    await wiring.send(VALUE, execution.inputs[node.name])
