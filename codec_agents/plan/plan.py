"""A plan: the nodes and edges of a checked declaration, with every edge proven exact.

Rules:

- A plan never changes, so any number of runs share it. A variant, such as one that continues a conversation,
  is a plan of its own with the same edges and the same lease of engines.
- What follows from the nodes and edges is computed once, and not in each run.
- The lease of its engines, their figures and the limits of its tools are of all its runs together.

Nodes that contain a plan are defined here too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

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
from codec_core.exceptions import UnencodableTextError
from codec_core.tokenizer import check_text


@dataclass(frozen=True, slots=True)
class BuiltMap(BuiltNode):
    """A pipeline run once for each item of a stream."""

    body: BuiltPipeline
    over: str
    split: str | Function
    """The separator that ends an item, or the function that splits the whole stream."""
    parallel: int
    in_order: bool
    separator: str
    decided: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """In a replay, by the path of the node: the recorded order of results that are sent as they complete."""


@dataclass(frozen=True, slots=True)
class BuiltLoop(BuiltNode):
    """A pipeline that runs in rounds."""

    starts_when_inputs_complete = True

    body: BuiltPipeline
    turns: int
    feedback: Mapping[str, str]
    until: Function | None
    """Called with the ids by sink after each round; true ends the loop."""
    starts_with: tuple[str, bytes] | None


@dataclass(frozen=True, slots=True)
class NodeLinks:
    """The numbers of the edges that end and begin at a node."""

    incoming: tuple[int, ...]
    outgoing: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """By port: the ordinary edges, and the fallback edges, which carry only when the node fails."""


def _links(nodes: Iterable[str], edges: Sequence[BuiltEdge]) -> dict[str, NodeLinks]:
    """Return the edges at each node, in one pass: a search for each node takes too long."""
    incoming: dict[str, list[int]] = {name: [] for name in nodes}
    outgoing: dict[str, dict[str, tuple[list[int], list[int]]]] = {name: {} for name in incoming}
    for number, edge in enumerate(edges):
        incoming[edge.target_node].append(number)
        # `reasoning` brings a second lane over the same edge, which keeps the order of the stream.
        for port in (edge.source_port, REASONING) if edge.reasoning else (edge.source_port,):
            always, fallback = outgoing[edge.source_node].setdefault(port, ([], []))
            (fallback if edge.fallback else always).append(number)
    return {
        name: NodeLinks(
            tuple(incoming[name]),
            {port: (tuple(always), tuple(fallback)) for port, (always, fallback) in ports.items()},
        )
        for name, ports in outgoing.items()
    }


def _index(nodes: Mapping[str, BuiltNode]) -> dict[str, Any]:
    """Return the fields of a plan that follow from its nodes alone."""
    return {
        "inputs": {name: node for name, node in nodes.items() if isinstance(node, BuiltInput)},
        "sinks": {name: node for name, node in nodes.items() if isinstance(node, BuiltSink)},
        # A pause is resumed with the same maps alone: its ids would mean other tokens.
        "map_hashes": {
            name: node.vocabulary.identity for name, node in nodes.items() if isinstance(node, PromptedNode)
        },
        "needs_approval": any(
            isinstance(node, BuiltModel) and node.dispatcher.needs_approval for node in nodes.values()
        ),
    }


def _may_end_early(node: BuiltNode) -> bool:
    """Return whether a node may end before its sources, in a run that continues."""
    races = isinstance(node, BuiltJoin) and (node.first is not None or node.until is not None)
    return races or node.conditional or node.policy.on_failure != "fail"


def _prepares(node: BuiltNode) -> bool:
    """Return whether an engine may be prepared for a node while its slots are being filled."""
    return isinstance(node, PromptedNode) and preparing(node.engine) is not None


def _is_sequential(nodes: Mapping[str, BuiltNode], edges: Sequence[BuiltEdge]) -> bool:
    """Return whether at most one node works at any time, and each only once its inputs are complete."""
    if any(map(_prepares, nodes.values())) or any(edge.prefill for edge in edges):
        return False
    if not all(
        isinstance(node, BuiltInput) or node.passive or node.starts_when_inputs_complete
        for node in nodes.values()
    ):
        return False
    return _is_path(nodes, edges)


def _is_path(nodes: Mapping[str, BuiltNode], edges: Sequence[BuiltEdge]) -> bool:
    """Return whether the working nodes form one path."""
    working = {name for name, node in nodes.items() if node.starts_when_inputs_complete}
    steps = {(edge.source_node, edge.target_node) for edge in edges}
    steps = {(source, target) for source, target in steps if source in working and target in working}
    sources, targets = {source for source, _ in steps}, {target for _, target in steps}
    # One step less than nodes, each with a source and a target of its own: without circles that is one path.
    return len(steps) == len(sources) == len(targets) == len(working) - 1


@dataclass(frozen=True, slots=True)
class BuiltPipeline:
    """A pipeline that can run, any number of times and concurrently. `BuiltPipeline.of` creates one."""

    name: str
    digest: str
    """Identifies the declaration: equal for equal declarations."""
    spec: PipelineSpec
    nodes: Mapping[str, BuiltNode]
    edges: Sequence[BuiltEdge]
    warnings: tuple[Fault, ...]
    engines: Mapping[str, Engine]
    """The engines that the pipeline created and closes. Engines that the caller gave stay the caller's."""
    servers: ServerLease
    """The MCP servers that the declaration names; open while a run uses them."""
    lease: EngineLease
    """Keeps those engines open while a run or `Pipeline.opened` uses them."""
    links: Mapping[str, NodeLinks]
    """The edges at each node."""
    may_end_early: bool
    """Whether a node may end before its sources, which then have no consumer."""
    is_sequential: bool
    """Whether its nodes work one after the other, so that a run needs one task."""
    inputs: Mapping[str, BuiltInput]
    sinks: Mapping[str, BuiltSink]
    map_hashes: Mapping[str, str]
    """The hash of the map of each node that asks a model, by name."""
    needs_approval: bool
    """Whether a model has tools that need approval."""
    reward: Callable[..., Any] | None = None
    """Grades a run that is recorded, given its result."""

    @classmethod
    def of(
        cls,
        name: str,
        spec: PipelineSpec,
        nodes: Mapping[str, BuiltNode],
        edges: Sequence[BuiltEdge],
        *,
        digest: str,
        warnings: tuple[Fault, ...] = (),
        reward: Callable[..., Any] | None = None,
        engines: Mapping[str, Engine] | None = None,
        servers: ServerLease | None = None,
    ) -> Self:
        """Return a plan with everything that follows from its nodes and edges."""
        may_end_early = any(map(_may_end_early, nodes.values()))
        return cls(
            name=name,
            digest=digest,
            spec=spec,
            nodes=nodes,
            edges=edges,
            warnings=warnings,
            reward=reward,
            engines=engines or {},
            servers=servers or ServerLease(()),
            lease=EngineLease(engines or {}),
            links=_links(nodes, edges),
            may_end_early=may_end_early,
            # Where a node may end before its sources, each has a task of its own, so that it can be stopped.
            is_sequential=not may_end_early and _is_sequential(nodes, edges),
            **_index(nodes),
        )

    def with_nodes(self, nodes: Mapping[str, BuiltNode]) -> Self:
        """Return the same plan with other nodes of the same names; it shares the lease of the engines."""
        return replace(self, nodes=nodes, **_index(nodes))

    def edges_into(self, node: str) -> list[BuiltEdge]:
        """Return the edges that end at a node, in declared order."""
        return [edge for edge in self.edges if edge.target_node == node]

    def checked_inputs(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Return a value for each input.

        Raises:
            InputError: an input is missing, unknown or of the wrong type, is text with half of a surrogate
                pair, or has an id outside its map.
        """
        # As `object`: a caller without a type checker may give anything, which the declared type rules out.
        values: object = given
        if not isinstance(values, Mapping):
            example = ", ".join(f"{name!r}: ..." for name in self.inputs)
            raise InputError(
                f"inputs is a mapping of the pipeline's inputs, {{{example}}}, not {type(values).__name__}"
            )
        # By their text: names of any type may be given.
        if unknown := sorted(given.keys() - self.inputs.keys(), key=str):
            known = ", ".join(self.inputs) or "none"
            raise InputError(f"there is no input {unknown[0]!r}; the pipeline {self.name!r} has: {known}")
        # The default is for a name that is left out: a None that is given is an error.
        return {
            name: _checked_value(node, given.get(name, node.default)) for name, node in self.inputs.items()
        }


def _checked_value(node: BuiltInput, value: Value | None) -> Value:
    if value is None:
        raise InputError(f"the input {node.name!r} has no value; give it one, as in {{{node.name!r}: ...}}")
    if node.vocabulary is None:
        if not isinstance(value, str):
            raise InputError(f"the input {node.name!r} takes text, not {type(value).__name__}")
        try:
            check_text(value)
        except UnencodableTextError as error:
            raise InputError(f"the input {node.name!r}: {error}") from None
        return value
    if isinstance(value, str):
        raise InputError(f"the input {node.name!r} takes ids of the map {node.vocabulary.id}, not text")
    # Text as bytes would be ids as well, and a set has no order.
    if isinstance(value, bytes | bytearray | Mapping | set | frozenset) or not isinstance(value, Iterable):
        raise InputError(f"the input {node.name!r} takes a list of ids, not {type(value).__name__}")
    given = list(value)
    ids = [_as_id(each) for each in given]
    for position, token_id in enumerate(ids):
        if token_id is None or not node.vocabulary.is_valid(token_id):
            raise InputError(
                f"the input {node.name!r} holds {given[position]!r:.100} at position {position}, "
                f"which is no id of the map {node.vocabulary.id}"
            )
    return [each for each in ids if each is not None]


def _as_id(value: object) -> int | None:
    """Return a whole number, of Python or of an array, as Python's; None for anything else."""
    if type(value) is int:
        return value
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type] # tried
    except TypeError:
        return None
