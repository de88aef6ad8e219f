"""The declaration of a pipeline: values, YAML, and pure checks; nothing here runs anything."""

from codec_agents.graph.chat import Chat, ChatTurn, Piece, RawPrompt, Slot, Text, parse_template
from codec_agents.graph.checks import check
from codec_agents.graph.edges import DEFAULT_BUFFER, DEFAULT_SEPARATOR, EdgeSpec
from codec_agents.graph.faults import Fault
from codec_agents.graph.links import Link
from codec_agents.graph.live import LiveObjects
from codec_agents.graph.nodes import (
    FunctionNode,
    InputNode,
    JoinNode,
    LoopNode,
    MapNode,
    ModelNode,
    Node,
    NodeSpec,
    PipelineNode,
    RouterNode,
    Sampling,
    SinkNode,
    StartsWith,
)
from codec_agents.graph.pipeline import Pipeline
from codec_agents.graph.policy import Limits, Policy, RetryPolicy, TimeoutPolicy
from codec_agents.graph.sources import EngineSpec, MapSpec
from codec_agents.graph.spec import PipelineSpec

__all__ = [
    "DEFAULT_BUFFER",
    "DEFAULT_SEPARATOR",
    "Chat",
    "ChatTurn",
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
    "Piece",
    "Pipeline",
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
