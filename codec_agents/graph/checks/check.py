"""Check a declaration, as far as that is possible without loading anything.

Every rule runs, so all faults are reported at once. Faults that only show on loading (markers that a map
lacks, tools that cannot be imported, edges that are not exact) are found when the pipeline is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from codec_agents.faults import MAX_FAULTS, Fault
from codec_agents.graph.base import place_name
from codec_agents.graph.checks import content, edges, nodes, serving, whole
from codec_agents.graph.checks.base import Checked, CheckRule
from codec_agents.graph.checks.written import unwritable
from codec_agents.graph.spec import Nested, PipelineSpec

RULES: tuple[CheckRule, ...] = (*edges.RULES, *content.RULES, *nodes.RULES, *whole.RULES, *serving.RULES)
"""All rules, in the order in which their faults are reported."""


def check(spec: PipelineSpec, *, unread: frozenset[str] = frozenset()) -> list[Fault]:
    """Return the faults and warnings of a declaration, errors first; at most `MAX_FAULTS` of each.

    Args:
        spec: the declaration.
        unread: nodes that are declared but could not be read; an edge that names one is not at fault.
    """
    errors: dict[Fault, None] = {}
    warnings: dict[Fault, None] = {}
    for fault in (*unwritable(spec), *_found(spec, unread, is_body=False)):
        kept = errors if fault.severity == "error" else warnings
        if len(kept) < MAX_FAULTS:
            kept[fault] = None
        elif kept is errors:
            break  # a full list of warnings does not end the search: an error may still follow
    return [*errors, *warnings]


def _found(spec: PipelineSpec, unread: frozenset[str], *, is_body: bool) -> Iterator[Fault]:
    checked = Checked.of(spec, unread, is_body=is_body)
    for rule in RULES:
        yield from rule(checked)
    for name, node in spec.nodes.items():
        if not isinstance(node, Nested):
            continue
        place = f"nodes.{name}.{node.body_field}"
        # No node of a body is unread: a node whose body has a fault is left out whole.
        for fault in _found(spec.body_of(name), frozenset(), is_body=True):
            inner = "" if fault.place == place_name(()) else f".{fault.place}"
            yield replace(fault, place=place + inner)
