"""The vocabulary of each port and each slot. None stands for text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from codec_agents.exceptions import DialectError
from codec_agents.graph.kinds import Asking, FunctionNode, InputNode, JoinNode, Node
from codec_agents.graph.spec import Nested
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.compiler.flatten import FlatGraph, FlatNode
    from codec_agents.plan.plan import BuiltPipeline


class EdgeVocabularies:
    """Finds the vocabularies of a flat graph, which has no cycles."""

    def __init__(
        self,
        flat: FlatGraph,
        inputs: Mapping[str, Vocabulary | None],
        body: Callable[[FlatNode], BuiltPipeline],
    ) -> None:
        self._flat = flat
        self._inputs = inputs
        """The vocabularies that the node around a body sends to its inputs."""
        self._body = body
        """Builds what is inside a loop or a map, once."""
        self._ports: dict[tuple[str, str], Vocabulary | None] = {}

    def port(self, node: str, port: str) -> Vocabulary | None:
        """Return the vocabulary of a port."""
        # The ports before it first, without recursion: a chain may be longer than Python's stack is deep.
        waiting = [(node, port)]
        while waiting:
            key = waiting[-1]
            flat = self._flat.nodes[key[0]]
            before = [wire.source for wire in self._flat.into(key[0])] if _depends(flat.node) else []
            if missing := [each for each in before if each not in self._ports]:
                waiting += missing
                continue
            if key not in self._ports:
                self._ports[key] = _PORTS[_kind(flat.node, _PORTS)](self, flat, key[1])
            waiting.pop()
        return self._ports[node, port]

    def slot(self, node: str, slot: str) -> Vocabulary | None:
        """Return the vocabulary of a slot."""
        flat = self._flat.nodes[node]
        return _SLOTS[_kind(flat.node, _SLOTS)](self, flat, slot)

    def arriving(self, node: str, slot: str | None = None) -> Vocabulary | None:
        """Return the first vocabulary among the edges into a node or slot; None if all of them carry text."""
        given = (self.port(*wire.source) for wire in self._flat.into(node, slot))
        return next((vocabulary for vocabulary in given if vocabulary is not None), None)

    def _input(self, flat: FlatNode, _: str) -> Vocabulary | None:
        node = flat.node
        assert isinstance(node, InputNode)
        if flat.name in self._inputs and not flat.prefix:
            return self._inputs[flat.name]
        return flat.resources.vocabulary(node.map) if node.type == "ids" and node.map else None

    def _asking(self, flat: FlatNode, _: str) -> Vocabulary | None:
        assert isinstance(flat.node, Asking)
        try:
            return flat.resources.asking(flat.node)[1]
        except DialectError:  # the node's own building reports it
            return flat.resources.vocabulary_of(flat.node)

    def _function(self, flat: FlatNode, _: str) -> Vocabulary | None:
        node = flat.node
        assert isinstance(node, FunctionNode)
        if node.wants == "text":
            return None
        if node.map is not None:
            return flat.resources.vocabulary(node.map)
        return self.arriving(flat.path, node.slots[0]) or self.arriving(flat.path)

    def _join(self, flat: FlatNode, _: str) -> Vocabulary | None:
        assert isinstance(flat.node, JoinNode)
        return flat.resources.vocabulary(flat.node.map) if flat.node.map else self.arriving(flat.path)

    def _nested_slot(self, flat: FlatNode, slot: str) -> Vocabulary | None:
        return self._body(flat).inputs[slot].vocabulary

    def _nested_port(self, flat: FlatNode, port: str) -> Vocabulary | None:
        return self._body(flat).edges_into(port)[0].source_vocabulary


def _depends(node: Node) -> bool:
    """Return whether the vocabulary of a node's ports may be that of what arrives."""
    if isinstance(node, FunctionNode):
        return node.wants == "ids" and node.map is None
    return isinstance(node, Nested) or (isinstance(node, JoinNode) and node.map is None)


def _kind(node: Node, table: Mapping[type[Node], Any]) -> type[Node]:
    return next(kind for kind in type(node).__mro__ if kind in table)


_Rule = Callable[["EdgeVocabularies", "FlatNode", str], "Vocabulary | None"]

_COMMON: dict[type[Node], _Rule] = {
    InputNode: EdgeVocabularies._input,
    Asking: EdgeVocabularies._asking,
    FunctionNode: EdgeVocabularies._function,
    JoinNode: EdgeVocabularies._join,
}
_PORTS: Mapping[type[Node], _Rule] = {**_COMMON, Nested: EdgeVocabularies._nested_port}
_SLOTS: Mapping[type[Node], _Rule] = {**_COMMON, Nested: EdgeVocabularies._nested_slot}
