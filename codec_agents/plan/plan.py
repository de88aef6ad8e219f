"""What a checked declaration becomes: nodes that can run, and edges that are proven to be exact."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import anyio

from codec_agents.dialects import BoundDialect
from codec_agents.engines.base import Engine, SamplingOptions, Timeouts, preparing
from codec_agents.exceptions import InputError
from codec_agents.faults import Fault
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.edges import Strategy
from codec_agents.graph.kinds import REASONING
from codec_agents.graph.policy import Policy
from codec_agents.graph.spec import PipelineSpec
from codec_agents.plan.lease import EngineLease
from codec_agents.prompts import PromptTemplate
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.functions import Function
from codec_agents.tools.mcp_servers import ServerLease
from codec_core.vocabulary import Vocabulary

Value: TypeAlias = "str | Sequence[int]"
"""What a caller gives to an input: text, or ids of the input's map."""


_NUMBERS = re.compile(r"\[\d+\](?=/)")


def declared_path(path: str) -> str:
    """Return a node's path as declared, without the number of the item or round that it worked on."""
    return _NUMBERS.sub("", path) if "[" in path else path


def strategy_between(source: Vocabulary | None, target: Vocabulary | None) -> Strategy:
    """Return what an edge between two vocabularies does; None stands for text."""
    if source is None:
        return "text" if target is None else "encode"
    if target is None:
        return "decode"
    return "pass_through" if source is target or source.hash == target.hash else "translate"


@dataclass(frozen=True, slots=True, eq=False)
class BuiltEdge:
    """One edge, with both ends known and its strategy proven."""

    source_node: str
    source_port: str
    target_node: str
    target_slot: str
    """Empty at a sink."""
    strategy: Strategy
    source_vocabulary: Vocabulary | None
    """None where the source gives text."""
    target_vocabulary: Vocabulary | None
    """None where the target takes text."""
    buffer: int
    separator: str = ""
    """What stands before this edge's content in a slot that other edges have filled already."""
    keep_special: bool = False
    reasoning: bool = False
    fallback: bool = False
    prefill: int = 0
    """Ids after which a longer beginning of the target's prompt is sent ahead; 0 for never."""

    @property
    def source(self) -> str:
        """The source as `node.port`."""
        return f"{self.source_node}.{self.source_port}"

    @property
    def target(self) -> str:
        """The target as `node.slot`, or the sink's name."""
        return f"{self.target_node}.{self.target_slot}" if self.target_slot else self.target_node


@dataclass(frozen=True, slots=True)
class BuiltNode:
    """What every kind of node has."""

    starts_filled: ClassVar[bool] = False
    """Whether it has nothing to do, and needs no task, before all its slots are filled."""
    passive: ClassVar[bool] = False
    """Whether it has nothing to do at all: those that feed it do that themselves."""

    name: str
    """Its name in its own pipeline."""
    path: str
    """Its name in the whole: that of a nested node begins with the node that it is in, and inside a loop or a
    map, while a run goes, with the number of the round or item: `each[2]/writer`."""
    policy: Policy
    conditional: bool
    """Whether it runs only when a router chooses it, or a node before it fails."""
    vocabularies: Mapping[str, Vocabulary | None]
    """The vocabulary of each slot; None for text."""

    @property
    def prefix(self) -> str:
        """What its path has before its name: where its own pipeline stands in the whole."""
        return self.path.removesuffix(self.name)


@dataclass(frozen=True, slots=True)
class BuiltInput(BuiltNode):
    """A place where the caller's value enters."""

    vocabulary: Vocabulary | None
    default: Value | None


@dataclass(frozen=True, slots=True)
class BuiltSink(BuiltNode):
    """A place where a stream leaves."""

    text: bool
    write: tuple[Callable[[Any], Any], ...] = ()
    """Called with each piece as it comes: text at a text sink, lists of ids at an id sink."""
    file: str | None = None

    @property
    def passive(self) -> bool:  # type: ignore[override]
        """Whether it only keeps what reaches it."""
        return not self.write and self.file is None


@dataclass(frozen=True, slots=True)
class BuiltAsking(BuiltNode):
    """A node that asks a model."""

    starts_filled = True

    model: str | None
    engine: Engine
    engine_slots: anyio.CapacityLimiter | None
    """Bounds the requests at once to the engine; shared by all nodes that ask it."""
    vocabulary: Vocabulary
    dialect: BoundDialect
    dialect_reason: str
    """Why this dialect: named in the declaration, or what it was derived from."""
    prompt: Chat | RawPrompt
    template: PromptTemplate
    options: SamplingOptions
    timeouts: Timeouts


@dataclass(frozen=True, slots=True)
class BuiltModel(BuiltAsking):
    """A model node, ready to be asked."""

    dispatcher: Dispatcher


@dataclass(frozen=True, slots=True)
class BuiltRouter(BuiltAsking):
    """A model whose answer chooses which nodes run."""

    labels: Mapping[str, bytes]
    """What the model may answer."""
    targets: Mapping[str, tuple[str, ...]]
    default: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class BuiltFunction(BuiltNode):
    """A Python callable."""

    starts_filled = True

    call: Function
    vocabulary: Vocabulary | None
    """Of what it gives; None for text."""


@dataclass(frozen=True, slots=True)
class BuiltJoin(BuiltNode):
    """Several edges brought together."""

    first: int | None
    until: Function | None
    """Given what has ended so far by source, it says whether that is enough."""
    vocabulary: Vocabulary | None
    decided: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The sources that it takes whatever ends first, by its path: what a record says."""


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

    starts_filled = True

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
    return isinstance(node, BuiltAsking) and preparing(node.engine) is not None


def _is_path(nodes: Mapping[str, BuiltNode], edges: Sequence[BuiltEdge]) -> bool:
    """Whether the nodes follow each other, so that no two of them ever work at the same time."""
    working = [name for name, node in nodes.items() if node.starts_filled]
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
    quits_early: bool = field(init=False)
    """Whether a node may end before those that feed it, which then have nobody to speak to."""
    one_by_one: bool = field(init=False)
    """Whether its nodes work one after the other, so that a run of it needs one task."""
    inputs: Mapping[str, BuiltInput] = field(init=False)
    """The inputs, by name."""
    sinks: Mapping[str, BuiltSink] = field(init=False)
    """The sinks, by name."""
    asks: bool = field(init=False)
    """Whether there are tools for which somebody must be asked."""

    def __post_init__(self) -> None:
        nodes = self.nodes.values()
        quits_early = any(map(_may_quit, nodes))
        simple = all(isinstance(node, BuiltInput) or node.passive or node.starts_filled for node in nodes)
        ahead = any(map(_acts_ahead, nodes)) or any(edge.prefill for edge in self.edges)
        one_by_one = simple and not quits_early and not ahead and _is_path(self.nodes, self.edges)
        links = {name: _links_of(name, self.edges) for name in self.nodes}
        object.__setattr__(self, "links", links)
        object.__setattr__(self, "lease", EngineLease(self.engines))
        object.__setattr__(self, "quits_early", quits_early)
        object.__setattr__(self, "one_by_one", one_by_one)
        self.index_nodes()

    def index_nodes(self) -> None:
        """Find again what depends on the nodes, after others took their places."""
        inputs = {name: node for name, node in self.nodes.items() if isinstance(node, BuiltInput)}
        sinks = {name: node for name, node in self.nodes.items() if isinstance(node, BuiltSink)}
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "sinks", sinks)
        asks = any(isinstance(node, BuiltModel) and node.dispatcher.asks for node in self.nodes.values())
        object.__setattr__(self, "asks", asks)

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
            name: node.vocabulary.hash for name, node in self.nodes.items() if isinstance(node, BuiltAsking)
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
