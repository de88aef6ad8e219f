"""What a declaration must hold to: one file for each thing that the rules are about."""

from codec_agents.graph.rules import content, edges, nodes, whole
from codec_agents.graph.rules.base import Checked, Rule

RULES: tuple[Rule, ...] = (*edges.RULES, *content.RULES, *nodes.RULES, *whole.RULES)
"""All rules, in the order in which their faults are told."""

__all__ = ["RULES", "Checked", "Rule"]
