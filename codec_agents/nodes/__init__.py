"""How each kind of node runs: one kind a file, each an async function over its wiring and its run."""

from codec_agents.nodes.registry import run_node

__all__ = ["run_node"]
