"""The figures of an edge over many runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from codec_agents.trace.timeline import Edge, TracedRun


@dataclass(frozen=True, slots=True)
class EdgeFigures:
    """One edge, over all runs in which it was measured; the lists are sorted."""

    name: str
    strategy: str
    runs: int
    ids_in: float
    """Mean."""
    ids_out: float
    bytes: float
    translate: tuple[float, ...]
    gap: tuple[float, ...]
    first_id: tuple[float, ...]


def percentile(values: Sequence[float], share: int) -> float | None:
    """Return a percentile of sorted values, between two of them where it falls there; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[share - 1]


def edge_figures(runs: Iterable[TracedRun]) -> list[EdgeFigures]:
    """Return the figures of each measured edge, in the order in which edges first appear."""
    edges: dict[str, list[Edge]] = {}
    for run in runs:
        for edge in run.edges:
            if edge.gap is not None:
                edges.setdefault(edge.name, []).append(edge)
    return [_figures(name, found) for name, found in edges.items()]


def _figures(name: str, edges: list[Edge]) -> EdgeFigures:
    def values(field: str) -> tuple[float, ...]:
        return tuple(sorted(value for edge in edges if (value := getattr(edge, field)) is not None))

    def mean(field: str) -> float:
        found = values(field)
        return sum(found) / len(found) if found else 0.0

    return EdgeFigures(
        name=name,
        strategy=edges[0].strategy,
        runs=len(edges),
        ids_in=mean("ids_in"),
        ids_out=mean("ids_out"),
        bytes=mean("bytes"),
        translate=values("translate"),
        gap=values("gap"),
        first_id=values("first_id_latency"),
    )
