"""Measure the handoffs of a pipeline: as it is declared, and with one thing changed, by turns.

The ways take turns, so that whatever else the machine does meets all of them alike. Each run is given other
inputs (a mark is put before every text), so that no engine finds in its cache what a run before left there.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from codec_agents.events import HandoffReport
from codec_agents.exceptions import PipelineError, RunError
from codec_agents.graph import InputNode, ModelNode, PipelineSpec
from codec_agents.graph.edges import EdgeSpec
from codec_agents.graph.kinds import Asking
from codec_agents.graph.live import LiveObjects
from codec_agents.graph.sources import EngineSpec, MapSpec
from codec_agents.pipeline import Pipeline
from codec_agents.plan.variants import prompted_nodes
from codec_agents.trace import read_runs
from codec_agents.trace.timeline import TracedRun
from codec_core.maps import TokenizerMap

DECLARED = "as declared"

AHEAD_BY_DEFAULT = frozenset({"vllm", "sglang", "llamacpp", "live"})
"""Kinds of engines that are sent beginnings of prompts although nothing declares it; a live one may be."""

Change: TypeAlias = Callable[[PipelineSpec], PipelineSpec]


def _with_prefill(spec: PipelineSpec, prefill: str) -> PipelineSpec:
    """Return a declaration whose edges between models are prefilled in one way."""
    edges = [
        edge.model_copy(update={"prefill": prefill}) if _may_be_sent(spec, edge, prefill) else edge
        for edge in spec.edges
    ]
    return spec.model_copy(update={"edges": tuple(edges)})


def _may_be_sent(spec: PipelineSpec, edge: EdgeSpec, prefill: str) -> bool:
    """Return whether the way makes a difference for an edge."""
    target = spec.nodes.get(edge.target_node)
    # What an input gives is there before the run: its edges are no handoffs.
    if not isinstance(target, Asking) or isinstance(spec.nodes.get(edge.source_node), InputNode):
        return False
    engine = spec.engine_of(target.engine)
    by_default = engine is not None and (engine.prefill is not None or engine.kind in AHEAD_BY_DEFAULT)
    return prefill != "off" or edge.prefill is not None or by_default


def _with_interval(spec: PipelineSpec, interval: int) -> PipelineSpec:
    nodes = {
        name: node.model_copy(update={"stream_interval": interval}) if isinstance(node, ModelNode) else node
        for name, node in spec.nodes.items()
    }
    return spec.model_copy(update={"nodes": nodes})


TEXT = "text"
"""The way by text: the same servers, asked through OpenAI's chat API."""

TEXT_KINDS = frozenset({"auto", "codec", "vllm", "sglang", "llamacpp"})
"""Engines whose servers have a chat API as well."""

OF_CONNECTIONS = frozenset({"proxy", "verify", "max_connections", "keep_alive", "transport"})
"""Options of an engine that are not its API's."""


def _as_text(spec: PipelineSpec) -> PipelineSpec:
    """Return a declaration whose models are asked through a chat API, so that content is text in between.

    Such an engine tells no map: `ways` names those that were told.
    """
    engines = {name: _chat_engine(engine) for name, engine in spec.engines.items()}
    nodes = dict(spec.nodes)
    for name, node in spec.nodes.items():
        if isinstance(node, Asking) and (engine := spec.engine_of(node.engine)) is not None:
            own = next((key for key, each in spec.engines.items() if each is engine), None)
            if own is None and engine.kind in TEXT_KINDS:  # declared by its address, in the node
                added = _free(f"{name}-{TEXT}", engines)
                engines[added] = _chat_engine(engine)
                nodes[name] = node.model_copy(update={"engine": added})
    return spec.model_copy(update={"engines": engines, "nodes": nodes})


def _free(name: str, taken: Collection[str]) -> str:
    """Return a name that nothing declared has."""
    while name in taken:
        name += "-"
    return name


def _chat_engine(engine: EngineSpec) -> EngineSpec:
    if engine.kind not in TEXT_KINDS:
        return engine
    options = {name: value for name, value in engine.options.items() if name in OF_CONNECTIONS}
    changed = {"kind": "openai", "options": options, "format": None, "compression": None}
    return engine.model_copy(update=changed)


CHANGES: Mapping[str, Change] = {
    "prefill off": lambda spec: _with_prefill(spec, "off"),
    "prefill: auto": lambda spec: _with_prefill(spec, "auto"),
    "1 id per event": lambda spec: _with_interval(spec, 1),
    "16 ids per event": lambda spec: _with_interval(spec, 16),
    TEXT: _as_text,
}
"""What is changed in each way. Where the declaration has it so already, the way is left out."""


def ways(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Return the pipeline as declared, and with each change that makes a difference."""
    found = {DECLARED: pipeline}
    for name, change in CHANGES.items():
        changed = change(pipeline.spec)
        if changed != pipeline.spec:
            live = pipeline.live
            if name == TEXT:
                changed, live = _with_told_maps(changed, pipeline)
            other = Pipeline.from_spec(changed, directory=pipeline.directory)
            other.live = live
            found[name] = other
    return found


def _with_told_maps(spec: PipelineSpec, pipeline: Pipeline) -> tuple[PipelineSpec, LiveObjects]:
    """Return a declaration and its live objects with the maps that the pipeline's engines have told."""
    untold = {
        name: node for name, node in spec.nodes.items() if isinstance(node, Asking) and node.map is None
    }
    if not untold:
        return spec, pipeline.live
    built = prompted_nodes(pipeline.build())
    nodes: dict[str, Asking] = {}
    told: dict[str, TokenizerMap] = {}
    for name, node in untold.items():
        added = _free(f"{name}-{TEXT}", {*spec.maps, *pipeline.live.maps, *told})
        told[added] = built[name].vocabulary.map
        nodes[name] = node.model_copy(update={"map": added})
    maps = {name: MapSpec(id=each.id, hash=each.hash) for name, each in told.items()}
    changed = {"nodes": {**spec.nodes, **nodes}, "maps": {**spec.maps, **maps}}
    return spec.model_copy(update=changed), replace(pipeline.live, maps={**pipeline.live.maps, **told})


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTimes:
    """The medians of one handoff in one way; durations in seconds, None where nothing tells them.

    Of a fan-out, all figures are those of its slowest edge: `first_id` is until the last reader's first id.
    """

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


@dataclass(frozen=True, slots=True)
class _WayRuns:
    """The figures and records of the runs of one way, one entry each."""

    reports: list[list[HandoffReport]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of measuring a pipeline."""

    ways: list[WayTimes]
    runs: list[TracedRun]
    """The last run of each way, by its name."""
    left_out: dict[str, str]
    """The ways that could not be run, and why."""


async def measure(
    pipelines: Mapping[str, Pipeline],
    inputs: Mapping[str, str],
    rounds: int,
    folder: Path,
    progress: Callable[[int, int], None],
) -> Measurement:
    """Run each way in each round, after one round that warms up.

    The text path is left out where it cannot be built or run: not every form and tool has a chat API.

    Args:
        pipelines: the ways, by name.
        inputs: the values of the text inputs.
        rounds: runs of each way that count.
        folder: where a record of each run is written.
        progress: called before each run, with its number and that of all.
    """
    runs = {name: _WayRuns() for name in pipelines}
    left_out: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name, pipeline in pipelines.items():
            with _leaving_out(name, left_out):
                await stack.enter_async_context(pipeline.opened())
        for number in range(rounds + 1):
            for place, (name, pipeline) in enumerate(pipelines.items()):
                marked = {key: f"({number}-{place}) {value}" for key, value in inputs.items()}
                file = folder / f"{name.replace(' ', '-').replace(':', '')}-{number}.jsonl"
                progress(number * len(pipelines) + place + 1, (rounds + 1) * len(pipelines))
                if name in left_out:
                    continue
                with _leaving_out(name, left_out):
                    result = await pipeline.invoke(marked, record=file)
                    # The first round warms up.
                    if number:
                        runs[name].reports.append(result.handoffs)
                        runs[name].seconds.append(result.seconds)
                        runs[name].files.append(file)
    return _measurement({name: each for name, each in runs.items() if name not in left_out}, left_out)


def _measurement(runs: Mapping[str, _WayRuns], left_out: dict[str, str]) -> Measurement:
    traced = {name: list(read_runs(each.files)) for name, each in runs.items()}
    times = [
        WayTimes(
            way=name,
            seconds=statistics.median(each.seconds),
            tools_saved=statistics.median(run.tools_saved for run in traced[name]),
            edges=tuple(_edges(each.reports)),
        )
        for name, each in runs.items()
    ]
    last = [replace(of_way[-1], name=name) for name, of_way in traced.items()]
    return Measurement(times, last, left_out)


@contextmanager
def _leaving_out(name: str, left_out: dict[str, str]) -> Iterator[None]:
    """Leave the text path out where it fails; a failure of any other way is one of the pipeline's own."""
    try:
        yield
    except (PipelineError, RunError) as error:
        if name != TEXT:
            raise
        left_out[name] = str(error)


def _edges(runs: Sequence[Sequence[HandoffReport]]) -> Iterator[EdgeTimes]:
    """Yield the medians of each edge into a prompt from a node that took time, and of each fan-out."""
    found: dict[str, list[HandoffReport]] = {}
    for run in runs:
        by_source: dict[str, list[HandoffReport]] = {}
        for report in run:
            # The text of an input is known before the run begins: nothing waits for its edge.
            if report.strategy != "encode":
                found.setdefault(f"{report.source} -> {report.target}", []).append(report)
                by_source.setdefault(report.source, []).append(report)
        for source, together in by_source.items():
            if len(targets := {report.target for report in together}) > 1:
                found.setdefault(f"{source} -> {len(targets)} prompts, the last", []).append(_last(together))
    for edge, handoffs in found.items():
        yield _times(edge, handoffs)


def _last(together: Sequence[HandoffReport]) -> HandoffReport:
    """Return the handoff of a fan-out whose first id came last; one without a first id is not waited for."""
    # All figures are then of one edge: the parts add up to the whole, and the cache is the one that was read.
    return max(together, key=lambda each: (each.first_id_latency or 0.0, each.gap or 0.0))


def _times(edge: str, handoffs: Sequence[HandoffReport]) -> EdgeTimes:
    """Return the medians of handoffs, one of each run."""

    def median(figure: Callable[[HandoffReport], float | None]) -> float | None:
        values = [value for each in handoffs if (value := figure(each)) is not None]
        return statistics.median(values) if values else None

    return EdgeTimes(
        edge=edge,
        ids=median(lambda each: each.output_ids) or 0,
        bytes_per_id=median(lambda each: each.bytes_per_id),
        gap=median(lambda each: each.gap),
        engine=median(lambda each: each.parts.get("engine")),
        engine_queue=median(lambda each: each.engine_queue),
        engine_prefill=median(lambda each: each.engine_prefill),
        first_id=median(lambda each: each.first_id_latency),
        sent_ahead=median(lambda each: each.prefilled_ids) or 0,
        cached=median(lambda each: each.cached_ids),
    )
