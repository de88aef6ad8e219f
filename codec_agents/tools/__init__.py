"""Tools: Python callables and MCP servers that models call."""

from codec_agents.tools.calls import ToolContext
from codec_agents.tools.tool import Tool, Toolset, tool

__all__ = ["Tool", "ToolContext", "Toolset", "tool"]
