"""The labels of nodes and edges in drawings."""

from __future__ import annotations

from codec_agents.graph.kinds import VALUE, Asking, Node
from codec_agents.graph.links import Link
from codec_agents.graph.spec import LoopNode, MapNode, kind_of

MAX_LABEL = 40
"""Characters of a label; a drawing is no place for more."""


def node_label(name: str, node: Node) -> str:
    """Return a node's title or name, and its kind."""
    return shorten(f"{node.title or name} ({node_note(node)})")


def node_note(node: Node) -> str:
    """Return the kind of a node in a word or two."""
    if isinstance(node, Asking) and node.model:
        return node.model
    if isinstance(node, LoopNode):
        return f"loop, {node.turns} turns"
    if isinstance(node, MapNode):
        return f"map, {node.parallel} at once"
    return str(kind_of(node))


def edge_label(link: Link) -> str:
    """Return the port and the slot of an edge, without default ones."""
    port = "" if link.source_port == VALUE else link.source_port
    slot = "" if link.target_slot == VALUE else link.target_slot
    return shorten(" to ".join(part for part in (port, slot) if part))


def shorten(text: str) -> str:
    """Return the text in one line, cut where it is too long for a drawing."""
    line = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
    return line if len(line) <= MAX_LABEL else f"{line[: MAX_LABEL - 1]}…"
