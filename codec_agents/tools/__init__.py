"""Tools: Python callables and MCP servers that models call."""

from codec_agents.tools.calls import ToolContext
from codec_agents.tools.tool import ResultIds, Tool, ToolFailure, Toolset, make_tool, tool

__all__ = ["ResultIds", "Tool", "ToolContext", "ToolFailure", "Toolset", "make_tool", "tool"]
