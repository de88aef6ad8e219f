"""An input node: what the caller gave enters the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec_agents.build import BuiltInput
    from codec_agents.nodes.wiring import Wiring
    from codec_agents.runtime import Run

INPUT_PORT = "value"
"""The one port of an input node."""


async def run_input(node: BuiltInput, wiring: Wiring, run: Run) -> None:
    """Send the value of one input."""
    await wiring.send(INPUT_PORT, run.inputs[node.name])
