"""How each kind of node runs: one kind a file, each an async function over its wiring and its execution."""

from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.nodes.registry import run_node

__all__ = ["NodeSkipped", "run_node"]
