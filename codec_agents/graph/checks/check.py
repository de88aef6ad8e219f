"""Check a declaration, as far as that is possible without loading anything.

Every rule runs, so all faults are reported at once. Faults that only show on loading (markers that a map
lacks, tools that cannot be imported, edges that are not exact) are found when the pipeline is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from codec_agents.faults import MAX_FAULTS, Fault
from codec_agents.graph.checks import content, edges, nodes, serving, whole
from codec_agents.graph.checks.base import Checked, CheckRule
from codec_agents.graph.spec import Nested, PipelineSpec

RULES: tuple[CheckRule, ...] = (*edges.RULES, *content.RULES, *nodes.RULES, *whole.RULES, *serving.RULES)
"""All rules, in the order in which their faults are reported."""


MAX_NESTING = 20
"""Pipelines inside one another. A file cannot hold more, at its limit of 64 levels and three for each."""


def check(spec: PipelineSpec, *, unread: frozenset[str] = frozenset()) -> list[Fault]:
    """Return the faults and warnings of a declaration, errors first; at most `MAX_FAULTS` of each.

    Args:
        spec: the declaration.
        unread: nodes that are declared but could not be read; an edge that names one is not at fault.
    """
    errors: dict[Fault, None] = {}
    warnings: dict[Fault, None] = {}
    for fault in _found(spec, unread, depth=0):
        kept = errors if fault.severity == "error" else warnings
        if len(kept) < MAX_FAULTS:
            kept[fault] = None
        elif kept is errors:
            break  # a warning more decides nothing, and an error that is left out would
    return [*errors, *warnings]


def _found(spec: PipelineSpec, unread: frozenset[str], *, depth: int) -> Iterator[Fault]:
    checked = Checked.of(spec, unread, is_body=depth > 0)
    for rule in RULES:
        yield from rule(checked)
    for name, node in spec.nodes.items():
        if not isinstance(node, Nested):
            continue
        place = f"nodes.{name}.{node.body_field}"
        if depth == MAX_NESTING:
            found = f"pipelines are nested more than {MAX_NESTING} levels deep"
            yield Fault(place, found, "bring some of them to a level further out")
            continue
        for fault in _found(spec.body_of(name), frozenset(), depth=depth + 1):
            yield replace(fault, place=f"{place}.{fault.place}")
