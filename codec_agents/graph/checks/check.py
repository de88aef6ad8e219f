"""What is wrong with a declaration, as far as it can be known without loading anything.

Every rule runs, so all faults are told at once. What only loading can tell (markers in a map, tools that
import, edges that are exact) is found when the pipeline is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from codec_agents.faults import Fault
from codec_agents.graph.checks import content, edges, nodes, whole
from codec_agents.graph.checks.base import Checked, Rule
from codec_agents.graph.spec import Nested, PipelineSpec

RULES: tuple[Rule, ...] = (*edges.RULES, *content.RULES, *nodes.RULES, *whole.RULES)
"""All rules, in the order in which their faults are reported."""


def check(spec: PipelineSpec, *, unread: frozenset[str] = frozenset(), is_body: bool = False) -> list[Fault]:
    """Return every fault and warning of a declaration, errors first.

    Args:
        spec: The declaration.
        unread: Nodes that are declared but could not be read: what names them is not at fault.
        is_body: Whether the pipeline stands inside a node of another one.
    """
    checked = Checked.of(spec, unread, is_body=is_body)
    faults = [fault for rule in RULES for fault in rule(checked)]
    faults += _check_bodies(spec)
    return sorted(dict.fromkeys(faults), key=lambda fault: fault.severity != "error")


def _check_bodies(spec: PipelineSpec) -> Iterator[Fault]:
    for name, node in spec.nodes.items():
        if isinstance(node, Nested):
            for fault in check(spec.body_of(name), is_body=True):
                yield replace(fault, place=f"nodes.{name}.{node.body_field}.{fault.place}")
