"""The declaration of a pipeline: values, YAML, and pure checks; nothing here runs anything."""

from codec_agents.faults import Fault
from codec_agents.graph.chat import Chat, ChatPiece, RawPrompt
from codec_agents.graph.checks.check import check
from codec_agents.graph.declaration import Declaration
from codec_agents.graph.edges import DEFAULT_BUFFER, DEFAULT_SEPARATOR, EdgeSpec
from codec_agents.graph.kinds import (
    FunctionNode,
    InputNode,
    JoinNode,
    ModelNode,
    Node,
    RouterNode,
    Sampling,
    SinkNode,
)
from codec_agents.graph.links import Link
from codec_agents.graph.live import LiveObjects
from codec_agents.graph.output import Output
from codec_agents.graph.policy import Limits, Policy, RetryPolicy, TimeoutPolicy
from codec_agents.graph.sources import EngineSpec, MapSpec
from codec_agents.graph.spec import LoopNode, MapNode, NodeSpec, PipelineNode, PipelineSpec, StartsWith
from codec_agents.graph.templates import Slot, Text, parse_template
from codec_agents.graph.turns import ChatTurn, DeclaredCall

__all__ = [
    "DEFAULT_BUFFER",
    "DEFAULT_SEPARATOR",
    "Chat",
    "ChatPiece",
    "ChatTurn",
    "Declaration",
    "DeclaredCall",
    "EdgeSpec",
    "EngineSpec",
    "Fault",
    "FunctionNode",
    "InputNode",
    "JoinNode",
    "Limits",
    "Link",
    "LiveObjects",
    "LoopNode",
    "MapNode",
    "MapSpec",
    "ModelNode",
    "Node",
    "NodeSpec",
    "Output",
    "PipelineNode",
    "PipelineSpec",
    "Policy",
    "RawPrompt",
    "RetryPolicy",
    "RouterNode",
    "Sampling",
    "SinkNode",
    "Slot",
    "StartsWith",
    "Text",
    "TimeoutPolicy",
    "check",
    "parse_template",
]
