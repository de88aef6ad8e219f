"""How each kind of node runs: one kind a file, each an async function over its wiring and its execution."""

from codec_agents.nodes.registry import run_node
from codec_agents.nodes.skipping import NodeSkipped

__all__ = ["NodeSkipped", "run_node"]
