"""Deprecated path of `codec_agents.tools.mcp`; removed in 0.3."""

from codec_agents.tools.mcp import mcp_tools, read_result

__all__ = ["mcp_tools", "read_result"]
