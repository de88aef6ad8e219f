"""Find what a declaration names and does not exist: every resource, each at its own place.

This runs also when the declaration itself has faults, so that both are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from codec_agents.compiler.maps import ResourceError
from codec_agents.compiler.resources import Resources
from codec_agents.exceptions import DialectError
from codec_agents.faults import Fault
from codec_agents.graph.base import Place, place_name
from codec_agents.graph.kinds import Asking, FunctionNode, InputNode, JoinNode, ModelNode, Node, SinkNode
from codec_agents.graph.servers import server_of
from codec_agents.graph.sources import TELLING_KINDS
from codec_agents.graph.spec import LoopNode, MapNode, Nested, PipelineSpec

Shared: TypeAlias = tuple[str, str] | None
"""A resource that several nodes may name: `engines` or `maps`, and its declared name."""

Need: TypeAlias = tuple[Place, Shared, Callable[[], Any]]
"""A field of a node, the name in it, and a function that loads what it names."""


def unmet_needs(spec: PipelineSpec, resources: Resources) -> Iterator[Fault]:
    """Yield a fault for each map, engine and callable that a node names and that cannot be loaded.

    An engine or a map is told once, where it is declared, however many nodes name it.
    """
    yield from Needs(spec, resources).unmet()


class Needs:
    """The resources that the nodes of one declaration need: the outermost, or one inside a node."""

    def __init__(
        self,
        spec: PipelineSpec,
        resources: Resources,
        place: str = "",
        declared: Mapping[tuple[str, str], str] | None = None,
        told: set[str] | None = None,
    ) -> None:
        self._spec = spec
        self._resources = resources
        self._place = place
        self._declared = _declared(spec, place) if declared is None else declared
        """The places of engines and maps."""
        # Shared with the pipelines inside nodes, which may name the same engines and maps.
        self._told = set() if told is None else told

    def unmet(self) -> Iterator[Fault]:
        """Yield the faults."""
        for name, node in self._spec.nodes.items():
            for field, shared, find in _needs(self._spec, name, self._resources):
                place = self._declared.get(shared) if shared else None
                yield from self._missing(place or self._place + place_name(("nodes", name, *field)), find)
            if isinstance(node, Nested):
                yield from self._inside(name, node).unmet()

    def _missing(self, place: str, find: Callable[[], Any]) -> Iterator[Fault]:
        if place in self._told:
            return
        try:
            find()
        except ResourceError as error:
            self._told.add(place)
            yield Fault(place, error.found, error.remedy)
        # Its message is `found; remedy`.
        except DialectError as error:
            self._told.add(place)
            found, _, remedy = str(error).partition("; ")
            yield Fault(place, found, remedy)

    def _inside(self, name: str, node: Nested) -> Needs:
        place = f"{self._place}nodes.{name}.{node.body_field}."
        return Needs(
            self._spec.body_of(name),
            self._resources.inside(name),
            place,
            {**self._declared, **_declared(node.body, place)},
            self._told,
        )


def _declared(spec: PipelineSpec, place: str) -> dict[tuple[str, str], str]:
    """Return the place of each engine and map in a declaration."""
    declared = (("engines", spec.engines), ("maps", spec.maps))
    return {(kind, name): place + place_name((kind, name)) for kind, names in declared for name in names}


def _needs(spec: PipelineSpec, name: str, resources: Resources) -> Iterator[Need]:
    node = spec.nodes[name]
    yield from _named(spec, node, resources)
    reference = spec.policy_of(name).shortens_by
    if isinstance(node, Asking) and reference is not None:
        yield ("policy", "on_overflow"), None, partial(resources.overflow, reference)
    for field, named in _references(node):
        yield field, None, partial(resources.callable, named)


def _named(spec: PipelineSpec, node: Node, resources: Resources) -> Iterator[Need]:
    if isinstance(node, Asking | FunctionNode | JoinNode | InputNode) and node.map is not None:
        yield ("map",), ("maps", node.map), partial(resources.vocabulary, node.map)
    # An unknown engine, or server below, is a fault of the declaration, which its check reports.
    if isinstance(node, Asking) and (engine := spec.engine_of(node.engine)) is not None:
        name = spec.engine_name(node.engine)
        yield ("engine",), ("engines", name) if name else None, partial(resources.engine, node.engine)
        if node.map is None and engine.kind in TELLING_KINDS:
            yield ("map",), None, partial(resources.vocabulary_of, node)
    if isinstance(node, Asking) and node.dialect is not None:
        yield ("dialect",), None, partial(resources.dialect, node.dialect)
    for position, reference in enumerate(node.tools if isinstance(node, ModelNode) else ()):
        named = server_of(reference)
        if named is None or named[0] in spec.mcp:
            yield ("tools", position), None, partial(resources.tools, reference)
    if isinstance(node, ModelNode) and node.output is not None and isinstance(node.output.json_schema, str):
        yield ("output", "schema"), None, partial(resources.callable, node.output.json_schema)


def _references(node: Node) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(node, FunctionNode | SinkNode) and node.call is not None:
        yield ("call",), node.call
    if isinstance(node, JoinNode | LoopNode) and isinstance(node.until, str):
        yield ("until",), node.until
    if isinstance(node, MapNode) and node.items is not None:
        yield ("items",), node.items
