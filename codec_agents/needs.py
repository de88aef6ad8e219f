"""Which of the things that a declaration names are not there: every one, each at its own place.

This runs also when the declaration itself has faults, so that both are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from codec_agents.exceptions import DialectError
from codec_agents.graph.base import place_name
from codec_agents.graph.faults import Fault
from codec_agents.graph.nodes import (
    Asking,
    FunctionNode,
    InputNode,
    JoinNode,
    LoopNode,
    MapNode,
    ModelNode,
    Nested,
    Node,
    SinkNode,
)
from codec_agents.graph.servers import server_of
from codec_agents.graph.spec import PipelineSpec
from codec_agents.resources import ResourceError, Resources

Need = tuple[tuple[str | int, ...], Callable[[], Any]]
"""A field of a node, and what finds out whether it can be had."""


def unmet_needs(spec: PipelineSpec, resources: Resources, place: str = "") -> Iterator[Fault]:
    """Yield a fault for each map, engine and callable that a node names and that cannot be had."""
    for name, node in spec.nodes.items():
        for field, find in _needs(spec, node, resources):
            try:
                find()
            except ResourceError as error:
                yield Fault(place + place_name(("nodes", name, *field)), error.found, error.remedy)
            except DialectError as error:
                yield Fault(place + place_name(("nodes", name, *field)), str(error), "")
        if isinstance(node, Nested):
            inside = f"{place}nodes.{name}.{node.body_field}."
            yield from unmet_needs(spec.body_of(name), resources.inside(name), inside)


def _needs(spec: PipelineSpec, node: Node, resources: Resources) -> Iterator[Need]:
    if isinstance(node, Asking | FunctionNode | JoinNode | InputNode) and node.map is not None:
        yield ("map",), partial(resources.vocabulary, node.map)
    if isinstance(node, Asking) and spec.engine_of(node.engine) is not None:
        yield ("engine",), partial(resources.engine, node.engine)
    if isinstance(node, Asking) and node.dialect is not None:
        yield ("dialect",), partial(resources.dialect, node.dialect)
    for position, reference in enumerate(node.tools if isinstance(node, ModelNode) else ()):
        named = server_of(reference)
        if named is None or named[0] in spec.mcp:
            yield ("tools", position), partial(resources.tools, reference)
    for field, reference in _references(node):
        yield field, partial(resources.callable, reference)


def _references(node: Node) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(node, FunctionNode | SinkNode) and node.call is not None:
        yield ("call",), node.call
    if isinstance(node, JoinNode | LoopNode) and isinstance(node.until, str):
        yield ("until",), node.until
    if isinstance(node, MapNode) and node.items is not None:
        yield ("items",), node.items
