"""The figures of an edge over many handoffs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from codec_agents.plan.nodes import declared_path
from codec_agents.trace.timeline import Edge, TracedRun

PARTS = ("detect", "tail", "wait", "render", "queue", "request", "engine")
"""The parts of a handoff, in order."""


@dataclass(frozen=True, slots=True)
class EdgeFigures:
    """One edge, over all handoffs on it that were measured; times in seconds, each list of them sorted."""

    source: str
    target: str
    strategy: str
    runs: int
    """Measured handoffs: one per run, more for edges inside loops and maps."""
    ids_in: float
    """Mean."""
    ids_out: float
    bytes: float
    wire_ids: float
    translate: tuple[float, ...]
    parts: Mapping[str, tuple[float, ...]]
    """By their names, in their order."""
    gap: tuple[float, ...]
    first_id: tuple[float, ...]

    @property
    def name(self) -> str:
        """The edge as people write it."""
        return f"{self.source} -> {self.target}"


def percentile(values: Sequence[float], share: int) -> float | None:
    """Return a percentile of sorted values, between two of them where it falls there; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[share - 1]


def edge_figures(runs: Iterable[TracedRun]) -> list[EdgeFigures]:
    """Return the figures of each measured edge, in the order in which edges first appear."""
    return figures_of(edge for run in runs for edge in run.edges)


def figures_of(handoffs: Iterable[Edge]) -> list[EdgeFigures]:
    """Group the measured handoffs by edge; all items of a map, and rounds of a loop, have one edge."""
    edges: dict[str, list[Edge]] = {}
    for edge in handoffs:
        if edge.gap is not None:
            edges.setdefault(declared_path(edge.name), []).append(edge)
    return [_figures(found) for found in edges.values()]


def _figures(edges: list[Edge]) -> EdgeFigures:
    # By name, because the parts are fields of an edge whose names are data (`PARTS`).
    def values(field: str) -> tuple[float, ...]:
        return tuple(sorted(value for edge in edges if (value := getattr(edge, field)) is not None))

    def mean(field: str) -> float:
        return fmean(values(field))  # a handoff that was measured has all counts

    return EdgeFigures(
        source=declared_path(edges[0].source),
        target=declared_path(edges[0].target),
        strategy=edges[0].strategy,
        runs=len(edges),
        ids_in=mean("ids_in"),
        ids_out=mean("ids_out"),
        bytes=mean("bytes"),
        wire_ids=mean("wire_ids"),
        translate=values("translate"),
        parts={part: values(part) for part in PARTS},
        gap=values("gap"),
        first_id=values("first_id_latency"),
    )
