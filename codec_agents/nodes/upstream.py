"""What stands before a node in the graph, where that decides how its stream may be held up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.plan.pipeline import BuiltAsking
from codec_agents.plan.variants import asking_nodes

if TYPE_CHECKING:
    from codec_agents.plan.pipeline import BuiltMap, BuiltPipeline


def asks_what_feeds_it(node: BuiltMap, built: BuiltPipeline) -> bool:
    """Whether a map's items ask an engine that a model before the map asks as well.

    Such a stream must not be held up: the model holds a place at the engine until its stream has ended, and
    the items, for whom it would wait, may be waiting for that place.
    """
    engines = {id(each.engine) for each in asking_nodes(node.body).values()}
    before = (built.nodes[name] for name in _before(node.name, built))
    return any(isinstance(each, BuiltAsking) and id(each.engine) in engines for each in before)


def _before(name: str, built: BuiltPipeline) -> set[str]:
    found: set[str] = set()
    left = [name]
    while left:
        for edge in built.edges_into(left.pop()):
            if edge.source_node not in found:
                found.add(edge.source_node)
                left.append(edge.source_node)
    return found
