"""Pipelines of language models that exchange token ids."""

from codec_agents.exceptions import CodecAgentsError, PipelineError, RunError
from codec_agents.graph import (
    Chat,
    EngineSpec,
    Fault,
    Limits,
    MapSpec,
    Policy,
    RetryPolicy,
    Sampling,
    TimeoutPolicy,
)
from codec_agents.pipeline import Pipeline
from codec_agents.runtime import Run, RunResult
from codec_agents.tools import Tool, ToolContext, Toolset, tool

__all__ = [
    "Chat",
    "CodecAgentsError",
    "EngineSpec",
    "Fault",
    "Limits",
    "MapSpec",
    "Pipeline",
    "PipelineError",
    "Policy",
    "RetryPolicy",
    "Run",
    "RunError",
    "RunResult",
    "Sampling",
    "TimeoutPolicy",
    "Tool",
    "ToolContext",
    "Toolset",
    "tool",
]
