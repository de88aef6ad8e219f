"""Dialects: how model families write turns, tool calls and reasoning, in the ids of a vocabulary."""

from codec_agents.dialects.base import (
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.derive import derive_dialect, family_dialect
from codec_agents.dialects.messages import (
    Message,
    MessageCall,
    ReadPrompt,
    ReadTurn,
    ReasoningState,
    ToolSpec,
)
from codec_agents.dialects.registry import dialects, get_dialect, register
from codec_agents.dialects.values import CallRegion, PortIds, ThinkingMode, TurnEvent, TurnReader
from codec_agents.tools.calls import ToolCall

__all__ = [
    "BoundDialect",
    "CallForm",
    "CallRegion",
    "Dialect",
    "Message",
    "MessageCall",
    "Openings",
    "PortIds",
    "ReadPrompt",
    "ReadTurn",
    "ReasoningState",
    "ResultForm",
    "ThinkingForm",
    "ThinkingMode",
    "ToolCall",
    "ToolSpec",
    "ToolsForm",
    "TurnEvent",
    "TurnReader",
    "WrittenCalls",
    "derive_dialect",
    "dialects",
    "family_dialect",
    "get_dialect",
    "register",
]
