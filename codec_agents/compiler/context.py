"""Everything that the builder of one node may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from codec_agents.faults import Fault
from codec_agents.graph.kinds import Node
from codec_agents.graph.policy import Policy
from codec_agents.tools.functions import Function

if TYPE_CHECKING:
    from codec_agents.compiler.edge_vocabularies import EdgeVocabularies
    from codec_agents.compiler.flatten import FlatGraph, FlatNode
    from codec_agents.plan.plan import BuiltPipeline

Declared = TypeVar("Declared", bound=Node)


@dataclass(frozen=True, slots=True)
class CompileContext:
    """One pass of the compiler over one declaration, as its nodes see it."""

    flat: FlatGraph
    """All nodes and edges, nested pipelines taken apart."""
    flows: EdgeVocabularies
    """The vocabulary of each port and slot."""
    is_body: bool
    """Whether the declaration is the body of a loop or a map, where no text is made."""
    body: Callable[[FlatNode], BuiltPipeline]
    """Builds the body of a loop or a map, once."""
    warn: Callable[[Fault], None]
    """Takes a warning of the build."""


@dataclass(frozen=True, slots=True)
class NodeBuilder:
    """One node, and everything that its builder may ask for."""

    flat: FlatNode
    context: CompileContext
    place: str
    path: str
    conditional: bool

    def declared(self, kind: type[Declared]) -> Declared:
        """Return the declaration."""
        assert isinstance(self.flat.node, kind)
        return self.flat.node

    @property
    def policy(self) -> Policy:
        """The policy of the node; a node without a fallback edge fails the run."""
        policy = self.flat.spec.policy_of(self.flat.name)
        mine = (wire.edge.fallback for wire in self.context.flat.wires if wire.source[0] == self.flat.path)
        if policy.on_failure == "fallback" and not any(mine):
            return policy.model_copy(update={"on_failure": "fail"})
        return policy

    def common(self) -> dict[str, Any]:
        """Return the arguments that every kind of built node takes."""
        slots = {wire.target[1] for wire in self.context.flat.into(self.flat.path)} - {""}
        return {
            "name": self.flat.path,
            "path": self.path,
            "policy": self.policy,
            "conditional": self.conditional,
            "vocabularies": {slot: self.context.flows.slot(self.flat.path, slot) for slot in sorted(slots)},
        }

    def file(self, name: str | None) -> str | None:
        """Return the path of a file that a node writes, relative to the declaration's folder."""
        return None if name is None else str(self.flat.resources.directory / name)

    def callable(self, reference: str) -> Callable[..., Any]:
        """Return what a reference names."""
        return self.flat.resources.callable(reference)

    def overflow(self, reference: str) -> Callable[..., Any]:
        """Return the function that an `on_overflow` names."""
        return self.flat.resources.overflow(reference)

    def function(self, reference: str) -> Function:
        """Return what a reference names, as a function that a run calls."""
        return Function(self.callable(reference))
