"""Measure the handoffs of a pipeline: as it is declared, and with one thing changed, by turns.

The ways take turns, so that whatever else the machine does meets all of them alike. Each run is given other
inputs (a mark is put before every text), so that no engine finds in its cache what a run before left there.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from codec_agents.events import HandoffReport
from codec_agents.graph import InputNode, ModelNode, PipelineSpec
from codec_agents.graph.kinds import Asking
from codec_agents.pipeline import Pipeline
from codec_agents.trace import read_runs

DECLARED = "as declared"

Change: TypeAlias = Callable[[PipelineSpec], PipelineSpec]


def _with_prefill(spec: PipelineSpec, prefill: str | None) -> PipelineSpec:
    """Return a declaration whose edges between models are prefilled in one way."""
    nodes = spec.nodes
    edges = [
        edge.model_copy(update={"prefill": prefill})
        if isinstance(nodes.get(edge.target_node), Asking)
        and not isinstance(nodes.get(edge.source_node), InputNode)
        else edge
        for edge in spec.edges
    ]
    return spec.model_copy(update={"edges": tuple(edges)})


def _with_interval(spec: PipelineSpec, interval: int) -> PipelineSpec:
    nodes = {
        name: node.model_copy(update={"stream_interval": interval}) if isinstance(node, ModelNode) else node
        for name, node in spec.nodes.items()
    }
    return spec.model_copy(update={"nodes": nodes})


CHANGES: Mapping[str, Change] = {
    "prefill off": lambda spec: _with_prefill(spec, None),
    "prefill: auto": lambda spec: _with_prefill(spec, "auto"),
    "1 id per event": lambda spec: _with_interval(spec, 1),
    "16 ids per event": lambda spec: _with_interval(spec, 16),
}
"""What is changed in each way. Where the declaration has it so already, the way is left out."""


def ways(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Return the pipeline as declared, and with each change that makes a difference."""
    found = {DECLARED: pipeline}
    for name, change in CHANGES.items():
        changed = change(pipeline.spec)
        if changed.edges != pipeline.spec.edges or changed.nodes != pipeline.spec.nodes:
            other = Pipeline.from_spec(changed, directory=pipeline.directory)
            other.live = pipeline.live
            found[name] = other
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTimes:
    """The medians of one handoff in one way; durations in seconds, None where nothing tells them."""

    edge: str
    ids: float
    bytes_per_id: float | None
    """Of the source's stream."""
    gap: float | None
    engine: float | None
    """From the request to the first id."""
    engine_queue: float | None
    engine_prefill: float | None
    first_id: float | None
    """From the source's last id to the target's first."""
    sent_ahead: float
    cached: float | None
    """Ids of the target's prompt that its engine found in its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WayTimes:
    """The figures of one way of running."""

    way: str
    seconds: float
    """The median of the whole run."""
    tools_saved: float
    """The median of the time by which runs were shorter because tools started during decoding."""
    edges: tuple[EdgeTimes, ...]


async def measure(
    pipelines: Mapping[str, Pipeline],
    inputs: Mapping[str, str],
    rounds: int,
    folder: Path,
    progress: Callable[[int, int], None],
) -> tuple[list[WayTimes], list[Path]]:
    """Run each way in each round, after one round that warms up.

    Args:
        pipelines: the ways, by name.
        inputs: the values of the text inputs.
        rounds: runs of each way that count.
        folder: where a record of each run is written.
        progress: called with the number of finished runs and of all.

    Returns:
        The figures of each way, and the records of the last round.
    """
    reports: dict[str, list[list[HandoffReport]]] = {name: [] for name in pipelines}
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    files: dict[str, list[Path]] = {name: [] for name in pipelines}
    async with AsyncExitStack() as stack:
        for pipeline in pipelines.values():
            await stack.enter_async_context(pipeline.opened())
        for number in range(rounds + 1):
            for place, (name, pipeline) in enumerate(pipelines.items()):
                marked = {key: f"({number}-{place}) {value}" for key, value in inputs.items()}
                file = folder / f"{name.replace(' ', '-').replace(':', '')}-{number}.jsonl"
                result = await pipeline.invoke(marked, record=file)
                progress(number * len(pipelines) + place + 1, (rounds + 1) * len(pipelines))
                if number:
                    reports[name].append(result.handoffs)
                    seconds[name].append(result.seconds)
                    files[name].append(file)
    times = [
        WayTimes(
            way=name,
            seconds=statistics.median(seconds[name]),
            tools_saved=statistics.median(run.tools_saved for run in read_runs(files[name])),
            edges=tuple(_edges(reports[name])),
        )
        for name in pipelines
    ]
    return times, [each[-1] for each in files.values()]


def _edges(runs: Sequence[Sequence[HandoffReport]]) -> Iterator[EdgeTimes]:
    """Yield the medians of each edge that ends in a prompt and begins at a node that took time."""
    found: dict[str, list[HandoffReport]] = {}
    for run in runs:
        for report in run:
            if report.strategy != "encode":
                found.setdefault(f"{report.source} -> {report.target}", []).append(report)
    for edge, reports in found.items():
        yield EdgeTimes(
            edge=edge,
            ids=statistics.median(each.output_ids for each in reports),
            bytes_per_id=_median(each.bytes_per_id for each in reports),
            gap=_median(each.gap for each in reports),
            engine=_median(each.parts.get("engine") for each in reports),
            engine_queue=_median(each.engine_queue for each in reports),
            engine_prefill=_median(each.engine_prefill for each in reports),
            first_id=_median(each.first_id_latency for each in reports),
            sent_ahead=statistics.median(each.prefilled_ids for each in reports),
            cached=_median(each.cached_ids for each in reports),
        )


def _median(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
