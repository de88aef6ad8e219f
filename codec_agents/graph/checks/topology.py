"""The order of nodes in a declaration: circles, dead ends and unreachable parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from codec_agents.graph.kinds import RouterNode
from codec_agents.graph.spec import PipelineSpec

Successors = Mapping[str, Sequence[str]]
"""For each node the nodes after it, in declared order."""


def successors(spec: PipelineSpec) -> Successors:
    """Return the successors of each node, by edges and by the choices of routers."""
    after: dict[str, dict[str, None]] = {name: {} for name in spec.nodes}
    for link in spec.links:
        after[link.source_node][link.target_node] = None
    for name, node in spec.nodes.items():
        if isinstance(node, RouterNode):
            after[name].update(dict.fromkeys(target for target in node.targets if target in after))
    return {name: tuple(names) for name, names in after.items()}


def reversed_successors(after: Successors) -> Successors:
    """Return the predecessors of each node."""
    before: dict[str, list[str]] = {name: [] for name in after}
    for name, names in after.items():
        for each in names:
            before[each].append(name)
    return {name: tuple(names) for name, names in before.items()}


def reachable(after: Successors, roots: Iterable[str]) -> set[str]:
    """Return the nodes that can be reached from the roots, the roots included."""
    found: set[str] = set()
    todo = [root for root in roots if root in after]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += after[name]
    return found


def cycles(after: Successors) -> list[list[str]]:
    """Return a circle of each part that has any, as the names along it; no two of one part share a node.

    The search is a depth-first walk without recursion: a chain of thousands of nodes is no problem.
    """
    done: set[str] = set()
    found: list[list[str]] = []
    for root in after:
        if root not in done:
            found += _cycles_from(root, after, done)
    return found


def _cycles_from(root: str, after: Successors, done: set[str]) -> list[list[str]]:
    """Walk from a root, past the nodes that are done; nodes that are left behind are done."""
    found: list[list[str]] = []
    path, pending, places = [root], [iter(after[root])], {root: 0}
    told = [-1]
    """For each place on the path: the last one, up to it, of a node in a circle that was found."""
    while path:
        following = next(pending[-1], None)
        if following is None:
            pending.pop()
            told.pop()
            del places[path[-1]]
            done.add(path.pop())
        elif (begin := places.get(following)) is not None:
            # A circle with a node of another one is of the same part. All of them together may have more
            # names than fit into the memory; circles without common nodes have no more than there are nodes.
            if told[-1] < begin:
                found.append(path[begin:])
                told[begin:] = range(begin, len(path))
        elif following not in done:
            places[following] = len(path)
            path.append(following)
            pending.append(iter(after[following]))
            told.append(told[-1])
    return found


def layers(after: Successors) -> list[list[str]]:
    """Return the nodes by their distance from the inputs: each comes after all its predecessors.

    Edges that close a circle are not counted.
    """
    before = reversed_successors(after)
    depth: dict[str, int] = {}
    waiting = {name: len(names) for name, names in before.items()}
    ready = [name for name, count in waiting.items() if count == 0]
    # The list grows while it is walked. A node enters when its last predecessor has a depth, so nodes of a
    # circle, and those behind one, never do: they get a depth of 0 below.
    for name in ready:
        depth[name] = 1 + max((depth[each] for each in before[name]), default=-1)
        for each in after[name]:
            waiting[each] -= 1
            if waiting[each] == 0:
                ready.append(each)
    for name in after:
        depth.setdefault(name, 0)
    rows: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name in after:
        rows[depth[name]].append(name)
    return rows
