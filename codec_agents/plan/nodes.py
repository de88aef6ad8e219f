"""The nodes and edges of a plan: values that never change and that any number of runs share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import anyio

from codec_agents.dialects import BoundDialect
from codec_agents.engines.base import Engine, SamplingOptions, Timeouts
from codec_agents.engines.measured import Measured
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.edges import Strategy
from codec_agents.graph.policy import Policy
from codec_agents.plan.output import OutputForm
from codec_agents.prompts import PromptTemplate, ToldResults
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.functions import Function
from codec_core.vocabulary import Vocabulary

Value: TypeAlias = "str | Sequence[int]"
"""The value of an input: text, or ids of the input's map."""


_NUMBERS = re.compile(r"\[\d+\](?=/)")


def declared_path(path: str) -> str:
    """Return a node's path as declared, without the numbers of items and rounds."""
    return _NUMBERS.sub("", path) if "[" in path else path


def strategy_between(source: Vocabulary | None, target: Vocabulary | None) -> Strategy:
    """Return the strategy of an edge between two vocabularies; None stands for text."""
    if source is None:
        return "text" if target is None else "encode"
    if target is None:
        return "decode"
    # A map made in memory has no hash: two of them are the same only if they are one object.
    same = source.map is target.map or (source.hash is not None and source.hash == target.hash)
    return "pass_through" if same else "translate"


@dataclass(frozen=True, slots=True, eq=False)
class BuiltEdge:
    """One edge: both its ends, and a strategy that was proven exact."""

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
    """Inserted before this edge's content in a slot that earlier edges have filled."""
    keep_special: bool = False
    reasoning: bool = False
    fallback: bool = False
    prefill: int = 0
    """Ids after which a longer beginning of the target's prompt is sent ahead; 0 for never."""
    prefill_auto: bool = False
    """Whether measurements decide if it is sent ahead."""
    prefill_by_default: bool = False
    """Whether nothing declares it: then it is sent to an idle engine that reports cached ids."""
    prefill_budget: int = 0
    """The most ids in all requests ahead for one prompt."""

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
    """A node of any kind."""

    starts_when_inputs_complete: ClassVar[bool] = False
    """Whether it needs no task before all its slots are filled."""
    passive: ClassVar[bool] = False
    """Whether it needs no task at all: its sources write to it."""

    name: str
    """Its name in its own pipeline."""
    path: str
    """Its name in the whole pipeline. That of a nested node begins with the node that contains it; during a
    run, inside a loop or a map, with the number of the round or item too: `each[2]/writer`."""
    policy: Policy
    conditional: bool
    """Whether it runs only when a router chooses it, or a node before it fails."""
    vocabularies: Mapping[str, Vocabulary | None]
    """The vocabulary of each slot; None for text."""

    @property
    def prefix(self) -> str:
        """The part of its path before its name."""
        return self.path.removesuffix(self.name)


@dataclass(frozen=True, slots=True)
class BuiltInput(BuiltNode):
    """An input: the caller's value enters here."""

    vocabulary: Vocabulary | None
    default: Value | None


@dataclass(frozen=True, slots=True)
class BuiltSink(BuiltNode):
    """A sink: a stream leaves here."""

    text: bool
    write: tuple[Callable[[Any], Any], ...] = ()
    """Called with each piece as it arrives: text at a text sink, lists of ids at an id sink."""
    file: str | None = None

    @property
    def passive(self) -> bool:  # type: ignore[override] # of sinks alone, each says it for itself
        """True if it only keeps its input, and writes nowhere."""
        return not self.write and self.file is None


@dataclass(frozen=True, slots=True)
class PromptedNode(BuiltNode):
    """A node that asks a model."""

    starts_when_inputs_complete = True

    model: str | None
    engine: Engine
    engine_slots: anyio.CapacityLimiter | None
    """Bounds concurrent requests to the engine; shared by all nodes that use it."""
    measured: Measured
    """What the engine's answers have shown; shared by all nodes that use it."""
    vocabulary: Vocabulary
    dialect: BoundDialect
    dialect_reason: str
    """Where the dialect comes from: the declaration, or what it was derived from."""
    prompt: Chat | RawPrompt
    template: PromptTemplate
    options: SamplingOptions
    timeouts: Timeouts
    earlier: list[int] = field(default_factory=list)
    """The ids of the conversation that it continues from an earlier run."""
    stream_interval: int = 1
    """Ids per event of its stream, for engines that gather them, or `WHOLE`."""
    has_max_tokens: bool = True
    """Whether `sampling.max_tokens` is declared; where it is not, an answer may fill the context."""
    context: int | None = None
    """The declared context of its engine, in ids; None where the engine is asked."""
    shortens: Function | None = None
    """The function of `policy.on_overflow`."""
    told: tuple[ToldResults, ...] = ()
    """The results of calls in the conversation that it continues, by their places in its prompt."""

    @property
    def asks_context(self) -> bool:
        """True if the engine is asked for its context: a prompt has to fit in, or an answer may fill it."""
        return self.context is None and (not self.has_max_tokens or self.policy.on_overflow != "fail")


@dataclass(frozen=True, slots=True)
class BuiltModel(PromptedNode):
    """A model node, ready to be asked."""

    dispatcher: Dispatcher = field(kw_only=True)
    declared_interval: int | None = None
    """The declared ids per event; None where its readers decide."""
    output: OutputForm | None = None
    """The form of its answer; None for any text."""


@dataclass(frozen=True, slots=True)
class BuiltRouter(PromptedNode):
    """A router: a model whose answer chooses the nodes that run."""

    labels: Mapping[str, bytes] = field(kw_only=True)
    """The labels that the model may answer, with their bytes."""
    targets: Mapping[str, tuple[str, ...]] = field(kw_only=True)
    default: tuple[str, ...] | None = field(kw_only=True)
    label_ids: Mapping[int, str] = field(default_factory=dict)
    """The first id of each label, where the engine draws from these alone and one id is the whole answer."""


def may_be_overtaken(source: BuiltNode, target: PromptedNode) -> bool:
    """Return whether a prompt may by default be sent ahead while this source of it is still writing.

    Only while a model writes, and on another engine: anything else may raise or choose otherwise until its
    end. One whose run waits for a decision, or goes on without it when it fails, may leave the prompt unsent.
    """
    return (
        isinstance(source, BuiltModel)
        and source.engine is not target.engine
        and source.policy.on_failure == "fail"
        and not source.dispatcher.needs_approval
    )


@dataclass(frozen=True, slots=True)
class BuiltFunction(BuiltNode):
    """A function node: a Python callable."""

    starts_when_inputs_complete = True

    call: Function
    vocabulary: Vocabulary | None
    """The vocabulary of its output; None for text."""


@dataclass(frozen=True, slots=True)
class BuiltJoin(BuiltNode):
    """A join of several edges."""

    first: int | None
    until: Function | None
    """Called with the content of the edges that have ended, by source; true ends the join."""
    vocabulary: Vocabulary | None
    decided: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """In a replay, by the path of the node: the recorded sources, which it takes whichever end first."""
