"""A checked declaration becomes a pipeline that can run.

Everything that can be known before a run is found out here, and all faults are told at once: maps are loaded
and their hashes compared, dialects bound to vocabularies, prompts assembled in ids, tools imported and their
schemas derived, and every edge proven to be exact or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from codec_agents.channel import DEFAULT_CHANNEL_IDS
from codec_agents.dialects import BoundDialect
from codec_agents.dispatch import Dispatcher
from codec_agents.engines.base import Engine, SamplingOptions, Timeouts
from codec_agents.graph import Policy
from codec_agents.handoff import EncodeText, Handoff, PassThrough, Transducer
from codec_agents.prompts import PromptTemplate
from codec_core.tokenizer import Tokenizer, pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import Vocabulary

Strategy: TypeAlias = Literal["pass_through", "translate", "encode", "decode", "ids", "text"]
"""What an edge does: into a prompt it passes through, translates or encodes; into a sink it decodes, or hands on."""


@dataclass(frozen=True, slots=True)
class BuiltEdge:
    """One edge, with both ends known and its strategy proven."""

    source_node: str
    source_port: str
    target_node: str
    target_port: str
    strategy: Strategy
    source_vocabulary: Vocabulary | None
    """None where the source gives text."""
    target_vocabulary: Vocabulary | None
    """None where the target is a sink."""
    keep_special: bool = False
    buffer: int = DEFAULT_CHANNEL_IDS

    @property
    def source(self) -> str:
        """The source as `node.port`."""
        return f"{self.source_node}.{self.source_port}"

    @property
    def target(self) -> str:
        """The target as `node.slot`."""
        return f"{self.target_node}.{self.target_port}" if self.target_port else self.target_node

    def open(self, clock: Callable[[], float]) -> Handoff:
        """Begin the work of an edge into a prompt, for one run."""
        return Handoff(self, _TRANSDUCERS[self.strategy](self), clock)


def _translator(edge: BuiltEdge) -> Transducer:
    assert edge.source_vocabulary is not None
    assert edge.target_vocabulary is not None
    return Translator(edge.source_vocabulary, edge.target_vocabulary, keep_special=edge.keep_special)


def _pass_through(edge: BuiltEdge) -> Transducer:
    assert edge.source_vocabulary is not None
    return PassThrough(edge.source_vocabulary)


def _encoder(edge: BuiltEdge) -> Transducer:
    assert edge.target_vocabulary is not None
    return EncodeText(pick_tokenizer(edge.target_vocabulary))


_TRANSDUCERS: Mapping[str, Callable[[BuiltEdge], Transducer]] = {
    "translate": _translator,
    "pass_through": _pass_through,
    "encode": _encoder,
}


@dataclass(frozen=True, slots=True)
class BuiltInput:
    """A place where the caller's value enters."""

    name: str


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model node, ready to be asked."""

    name: str
    model: str | None
    engine: Engine
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    dialect: BoundDialect
    dialect_reason: str
    """Why this dialect: named in the declaration, or what it was derived from."""
    template: PromptTemplate
    dispatcher: Dispatcher
    options: SamplingOptions
    timeouts: Timeouts
    policy: Policy
    separators: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """What stands between several edges into one slot."""


@dataclass(frozen=True, slots=True)
class BuiltSink:
    """A place where a stream leaves."""

    name: str
    text: bool


BuiltNode: TypeAlias = BuiltInput | BuiltModel | BuiltSink
