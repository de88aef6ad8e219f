"""What a checked declaration becomes: nodes that can run, and edges that are proven to be exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from codec_agents.engines.base import Engine, preparing
from codec_agents.exceptions import InputError
from codec_agents.faults import Fault
from codec_agents.graph.kinds import REASONING
from codec_agents.graph.spec import PipelineSpec
from codec_agents.plan.lease import EngineLease
from codec_agents.plan.nodes import (
    BuiltEdge,
    BuiltInput,
    BuiltJoin,
    BuiltModel,
    BuiltNode,
    BuiltSink,
    PromptedNode,
    Value,
)
from codec_agents.tools.functions import Function
from codec_agents.tools.mcp_servers import ServerLease


@dataclass(frozen=True, slots=True)
class BuiltMap(BuiltNode):
    """A pipeline run once for each item of a stream."""

    body: BuiltPipeline
    over: str
    split: str | Function
    """What ends an item, or what cuts a stream into items."""
    parallel: int
    in_order: bool
    separator: str
    decided: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The order of the results where it is that of completion, by its path: what a record says."""


@dataclass(frozen=True, slots=True)
class BuiltLoop(BuiltNode):
    """A pipeline run again and again."""

    starts_when_inputs_complete = True

    body: BuiltPipeline
    turns: int
    feedback: Mapping[str, str]
    until: Function | None
    """Given the ids by sink, it says whether the loop is done."""
    starts_with: tuple[str, bytes] | None


@dataclass(frozen=True, slots=True)
class NodeLinks:
    """Which edges begin and end at a node, by their numbers."""

    incoming: tuple[int, ...]
    outgoing: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Of each port: the edges that always carry, and those that carry when the node fails."""


def _links_of(name: str, edges: Sequence[BuiltEdge]) -> NodeLinks:
    outgoing: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for number, edge in enumerate(edges):
        if edge.source_node == name:
            for port in (edge.source_port, REASONING) if edge.reasoning else (edge.source_port,):
                always, fallback = outgoing.get(port, ((), ()))
                if edge.fallback:
                    outgoing[port] = (always, (*fallback, number))
                else:
                    outgoing[port] = ((*always, number), fallback)
    incoming = tuple(number for number, edge in enumerate(edges) if edge.target_node == name)
    return NodeLinks(incoming, outgoing)


def _may_quit(node: BuiltNode) -> bool:
    """Whether a node may end before those that feed it, in a run that goes on."""
    races = isinstance(node, BuiltJoin) and (node.first is not None or node.until is not None)
    return races or node.conditional or node.policy.on_failure != "fail"


def _acts_ahead(node: BuiltNode) -> bool:
    """Whether something may be done for a node while its slots are still being filled."""
    return isinstance(node, PromptedNode) and preparing(node.engine) is not None


def _is_path(nodes: Mapping[str, BuiltNode], edges: Sequence[BuiltEdge]) -> bool:
    """Whether the nodes follow each other, so that no two of them ever work at the same time."""
    working = [name for name, node in nodes.items() if node.starts_when_inputs_complete]
    steps = {(edge.source_node, edge.target_node) for edge in edges}
    steps = {(source, target) for source, target in steps if source in working and target in working}
    sources, targets = {source for source, _ in steps}, {target for _, target in steps}
    return len(steps) == len(sources) == len(targets) == len(working) - 1


@dataclass(frozen=True, slots=True)
class BuiltPipeline:
    """A pipeline that can run, any number of times and at the same time."""

    name: str
    digest: str
    """Names the declaration: equal for equal declarations."""
    spec: PipelineSpec
    nodes: Mapping[str, BuiltNode]
    edges: Sequence[BuiltEdge]
    warnings: tuple[Fault, ...] = ()
    engines: Mapping[str, Engine] = field(default_factory=dict)
    """The engines that the pipeline made and closes; those that the caller gave are the caller's."""
    servers: ServerLease = field(default_factory=lambda: ServerLease(()))
    """The MCP servers that the declaration names, and how long they stay open."""
    lease: EngineLease = field(init=False)
    """What keeps those engines open: runs, and whoever opened the pipeline."""
    links: Mapping[str, NodeLinks] = field(init=False)
    """The edges at each node."""
    may_end_early: bool = field(init=False)
    """Whether a node may end before those that feed it, which then have nobody to speak to."""
    is_sequential: bool = field(init=False)
    """Whether its nodes work one after the other, so that a run of it needs one task."""
    inputs: Mapping[str, BuiltInput] = field(init=False)
    """The inputs, by name."""
    sinks: Mapping[str, BuiltSink] = field(init=False)
    """The sinks, by name."""
    needs_approval: bool = field(init=False)
    """Whether it has tools that need approval."""

    def __post_init__(self) -> None:
        nodes = self.nodes.values()
        may_end_early = any(map(_may_quit, nodes))
        simple = all(
            isinstance(node, BuiltInput) or node.passive or node.starts_when_inputs_complete for node in nodes
        )
        ahead = any(map(_acts_ahead, nodes)) or any(edge.prefill for edge in self.edges)
        is_sequential = simple and not may_end_early and not ahead and _is_path(self.nodes, self.edges)
        links = {name: _links_of(name, self.edges) for name in self.nodes}
        object.__setattr__(self, "links", links)
        object.__setattr__(self, "lease", EngineLease(self.engines))
        object.__setattr__(self, "may_end_early", may_end_early)
        object.__setattr__(self, "is_sequential", is_sequential)
        self.index_nodes()

    def index_nodes(self) -> None:
        """Find again what depends on the nodes, after others took their places."""
        inputs = {name: node for name, node in self.nodes.items() if isinstance(node, BuiltInput)}
        sinks = {name: node for name, node in self.nodes.items() if isinstance(node, BuiltSink)}
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "sinks", sinks)
        needs_approval = any(
            isinstance(node, BuiltModel) and node.dispatcher.needs_approval for node in self.nodes.values()
        )
        object.__setattr__(self, "needs_approval", needs_approval)

    def edges_into(self, node: str) -> list[BuiltEdge]:
        """Return the edges that end at a node, in declared order."""
        return [edge for edge in self.edges if edge.target_node == node]

    def checked_inputs(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Return a value for each input.

        Raises:
            InputError: an input is missing, unknown, of the wrong type, or holds an id that its map has not.
        """
        if unknown := sorted(given.keys() - self.inputs.keys()):
            known = ", ".join(self.inputs) or "none"
            raise InputError(f"there is no input {unknown[0]!r}; the pipeline {self.name!r} has: {known}")
        return {
            name: _checked_value(node, given.get(name, node.default)) for name, node in self.inputs.items()
        }

    @property
    def map_hashes(self) -> dict[str, str | None]:
        """The hash of each asking node's map."""
        return {
            name: node.vocabulary.hash for name, node in self.nodes.items() if isinstance(node, PromptedNode)
        }


def _checked_value(node: BuiltInput, value: Value | None) -> Value:
    if value is None:
        raise InputError(f"the input {node.name!r} has no value; give it one: --input {node.name}=...")
    if node.vocabulary is None:
        if not isinstance(value, str):
            raise InputError(f"the input {node.name!r} takes text, not {type(value).__name__}")
        return value
    if isinstance(value, str):
        raise InputError(f"the input {node.name!r} takes ids of the map {node.vocabulary.id}, not text")
    for position, token_id in enumerate(value):
        if not node.vocabulary.is_valid(token_id):
            raise InputError(
                f"the input {node.name!r} holds {token_id} at position {position}, "
                f"which is no id of the map {node.vocabulary.id}"
            )
    return list(value)
