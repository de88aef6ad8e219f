"""A pipeline as one self-contained SVG picture: nodes in columns, from left to right.

Columns follow the longest way from the inputs; within a column, nodes are near their predecessors. An
edge that skips columns is bent around, so it stays apart from the nodes between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.sax.saxutils import escape

from codec_agents.graph.checks.topology import layers, reversed_successors, successors
from codec_agents.graph.drawing.labels import edge_label, node_note, shorten
from codec_agents.graph.kinds import RouterNode
from codec_agents.graph.spec import PipelineSpec, kind_of

CHARACTER = 7.5
"""Width of a character of the labels, in pixels: a little more than the fonts need."""

BOX_HEIGHT = 46.0
ROW_GAP = 34.0
MARGIN = 16.0
MIN_BOX = 90.0
MIN_COLUMN_GAP = 60.0

_COLOURS: Mapping[str, str] = {
    "input": "#e8f4ea",
    "model": "#e6eefb",
    "router": "#fdf1dc",
    "function": "#f1eafa",
    "join": "#eef0f2",
    "map": "#f1eafa",
    "loop": "#fdf1dc",
    "pipeline": "#e6eefb",
    "sink": "#e8f4ea",
}

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2733}"
    ".note,.label{font-size:11px;fill:#5a6876}"
    "rect{stroke:#7b8a99}path{fill:none;stroke:#5a6876;stroke-width:1.4}"
    ".dashed{stroke-dasharray:5 4}.back{fill:#fff;stroke:none}"
    ".label{paint-order:stroke;stroke:#fff;stroke-width:4px}"
)


_ARROW_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><polygon points="0,0 8,4 0,8" fill="#5a6876"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class _Box:
    """The position of a node."""

    x: float
    y: float
    width: float
    column: int


_Ends: TypeAlias = tuple[str, str, str, bool]
"""Source, target and label of a line, and True for a dashed one, which is not always taken."""


def to_svg(spec: PipelineSpec) -> str:
    """Return the picture as text; it needs no font, style or script from elsewhere."""
    arrows = _arrows(spec)
    boxes = _place(spec, arrows)
    width = max(box.x + box.width for box in boxes.values()) + MARGIN
    height = max(box.y for box in boxes.values()) + BOX_HEIGHT + MARGIN
    body = [*(_arrow(boxes, *arrow, height) for arrow in arrows), *_nodes(spec, boxes)]
    # Bent arrows and their labels pass below the lowest row; 60 pixels hold the lowest point of such a curve.
    needs_room = any(_is_bent(boxes[source], boxes[target]) for source, target, _, _ in arrows)
    size = f"{width:.0f} {height + (60 if needs_room else 0):.0f}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">',
            f"<title>{escape(shorten(spec.pipeline))}</title>",
            f"<style>{_STYLE}</style>",
            _ARROW_TIP,
            '<rect class="back" width="100%" height="100%"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _place(spec: PipelineSpec, arrows: Sequence[_Ends]) -> dict[str, _Box]:
    """Return the position of each node."""
    after = successors(spec)
    before = reversed_successors(after)
    boxes: dict[str, _Box] = {}
    columns = layers(after)
    tallest = max(map(len, columns))
    longest: dict[str, int] = {}
    for source, _, label, _ in arrows:
        longest[source] = max(len(label), longest.get(source, 0))
    x = MARGIN
    for index, column in enumerate(columns):
        column = sorted(column, key=lambda name: _mean_height(before[name], boxes))
        width = max(_width(spec, name) for name in column)
        # In the middle of the tallest column: a short one then has short arrows.
        top = MARGIN + (tallest - len(column)) * (BOX_HEIGHT + ROW_GAP) / 2
        for row, name in enumerate(column):
            boxes[name] = _Box(x, top + row * (BOX_HEIGHT + ROW_GAP), width, index)
        # The widest label stands in the gap, with the tip of its arrow and some space.
        x += width + max(MIN_COLUMN_GAP, max(longest.get(name, 0) for name in column) * CHARACTER + 30)
    return boxes


def _mean_height(names: Sequence[str], boxes: Mapping[str, _Box]) -> float:
    heights = [boxes[name].y for name in names if name in boxes]
    return sum(heights) / len(heights) if heights else 0.0


def _width(spec: PipelineSpec, name: str) -> float:
    node = spec.nodes[name]
    longest = max(len(shorten(node.title or name)), len(shorten(node_note(node))))
    return max(MIN_BOX, longest * CHARACTER + 20)


def _arrows(spec: PipelineSpec) -> list[_Ends]:
    """Return the lines between nodes.

    Several edges between the same two nodes are one line with all their labels.
    """
    labels: dict[tuple[str, str, bool], list[str]] = {}
    for link in spec.links:
        ends = link.source_node, link.target_node, link.edge.fallback
        labels.setdefault(ends, []).append(edge_label(link))
    for name, node in spec.nodes.items():
        if isinstance(node, RouterNode):
            for label, targets in [*node.labels.items(), ("default", node.default or ())]:
                for target in targets:
                    labels.setdefault((name, target, True), []).append(label)
    return [
        (source, target, shorten(", ".join(filter(None, texts))), is_dashed)
        for (source, target, is_dashed), texts in labels.items()
        # `Pipeline.to_svg` draws a declaration that nothing has checked: a router may name an unknown node.
        if target in spec.nodes
    ]


def _is_bent(source: _Box, target: _Box) -> bool:
    return target.column != source.column + 1


def _arrow(
    boxes: Mapping[str, _Box], source_name: str, target_name: str, label: str, is_dashed: bool, height: float
) -> str:
    source, target = boxes[source_name], boxes[target_name]
    x1, y1 = source.x + source.width, source.y + BOX_HEIGHT / 2
    x2, y2 = target.x, target.y + BOX_HEIGHT / 2
    if _is_bent(source, target):
        # The control points of the curve: it comes down to three quarters of the way to them. They lie beside
        # the boxes, so that it leaves to the right and arrives from the left.
        low = height + 20
        curve = f"M{x1:.1f},{y1:.1f} C{x1 + 60:.1f},{low:.1f} {x2 - 60:.1f},{low:.1f} {x2:.1f},{y2:.1f}"
        # A cubic curve's point at one half: an eighth of each end, three eighths of each control point.
        middle = (x1 + x2) / 2, (y1 + y2) / 8 + low * 0.75
    else:
        half = (x2 - x1) / 2
        curve = f"M{x1:.1f},{y1:.1f} C{x1 + half:.1f},{y1:.1f} {x2 - half:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
        middle = (
            (x1 + x2) / 2,
            (y1 + y2) / 2 - 6,
        )  # above the line, with its descenders and their white outline
    style = ' class="dashed"' if is_dashed else ""
    line = f'<path d="{curve}"{style} marker-end="url(#tip)"/>'
    return line + (_text(*middle, label, "label") if label else "")


def _nodes(spec: PipelineSpec, boxes: Mapping[str, _Box]) -> Iterator[str]:
    for name, node in spec.nodes.items():
        box, kind = boxes[name], str(kind_of(node))
        radius = 22 if kind in ("input", "sink") else 6  # nearly half the height: round where the graph ends
        middle = box.x + box.width / 2
        yield (
            f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{BOX_HEIGHT}" '
            f'rx="{radius}" fill="{_COLOURS[kind]}"/>'
        )
        # The base lines of two lines of text in the height of a box.
        yield _text(middle, box.y + 19, shorten(node.title or name), "name")
        yield _text(middle, box.y + 35, shorten(node_note(node)), "note")


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" class="{style}">{escape(text)}</text>'
