"""A pipeline as a Mermaid flowchart, which forges and editors draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codec_agents.graph.drawing.labels import edge_label, node_label
from codec_agents.graph.kinds import RouterNode
from codec_agents.graph.spec import Nested, PipelineSpec

_SHAPES: Mapping[str, tuple[str, str]] = {
    "input": ("([", "])"),
    "model": ("[", "]"),
    "router": ("{", "}"),
    "function": ("[/", "/]"),
    "join": ("((", "))"),
    "sink": ("([", "])"),
}
"""The shape of each kind; nodes with a pipeline inside are frames around it."""


def to_mermaid(spec: PipelineSpec) -> str:
    """Return the text of a flowchart, from left to right."""
    return "\n".join(["flowchart LR", *_graph(spec, "", "  ")]) + "\n"


def _graph(spec: PipelineSpec, prefix: str, indent: str) -> Iterator[str]:
    for name, node in spec.nodes.items():
        key, text = _key(prefix, name), _quote(node_label(name, node))
        if isinstance(node, Nested):
            yield f"{indent}subgraph {key}[{text}]"
            yield from _graph(node.body, f"{prefix}{name}/", f"{indent}  ")
            yield f"{indent}end"
        else:
            opened, closed = _SHAPES[node.kind]
            yield f"{indent}{key}{opened}{text}{closed}"
    for link in spec.links:
        line = "-.->" if link.edge.fallback else "-->"
        ends = _key(prefix, link.source_node), _key(prefix, link.target_node)
        label = edge_label(link)
        yield f"{indent}{ends[0]} {line}{'|' + _quote(label) + '|' if label else ''} {ends[1]}"
    for name, node in spec.nodes.items():
        if isinstance(node, RouterNode):
            yield from _routes(prefix, name, node, indent)


def _routes(prefix: str, name: str, node: RouterNode, indent: str) -> Iterator[str]:
    choices = [*node.labels.items(), *([("default", node.default)] if node.default else [])]
    for label, targets in choices:
        # Of a node that is not there, which the check reports, Mermaid draws the key.
        for target in targets:
            yield f"{indent}{_key(prefix, name)} -.->|{_quote(label)}| {_key(prefix, target)}"


def _key(prefix: str, name: str) -> str:
    """Return an id for a node: words such as `end` mean something in Mermaid, a prefix keeps them apart."""
    return "n_" + "".join(char if char.isalnum() else f"_{ord(char):x}_" for char in prefix + name)


def _quote(text: str) -> str:
    """Return a quoted label in which every character is literal."""
    escaped = "".join(char if char.isalnum() or char in " .,:/()_-" else f"#{ord(char)};" for char in text)
    return f'"{escaped}"'
