"""Pipelines of language models that exchange token ids."""

import logging as _logging
import typing as _typing

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
from codec_agents.tools.calls import ToolContext
from codec_agents.tools.tool import Tool, Toolset, tool

# Warnings and retries go to this logger; a program that configures no logging prints nothing.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

if _typing.TYPE_CHECKING:
    __version__: str

    from codec_agents.runtime.result import RunResult
    from codec_agents.runtime.run import Run

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
    "__version__",
    "tool",
]


def __getattr__(name: str) -> _typing.Any:
    """Import what runs pipelines when it is asked for; a program that declares them does without."""
    if name == "__version__":
        # Looked up here: it reads the files of the installation, and few programs ask for the version.
        from importlib.metadata import version

        return version("codec-agents")
    if name == "Run":
        from codec_agents.runtime.run import Run

        return Run
    if name == "RunResult":
        from codec_agents.runtime.result import RunResult

        return RunResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those that are not imported yet among them."""
    return list(__all__)
