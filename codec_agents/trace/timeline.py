"""A recorded run over time: bars of a waterfall, lanes of token ids, edges with their handoffs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from codec_agents.events import EngineReport, HandoffReport
from codec_agents.plan.nodes import declared_path
from codec_agents.records.recorded import RecordedRun, RecordedTurn
from codec_agents.turn import lost_from

BarKind: TypeAlias = Literal["wait", "reasoning", "answer", "tool_calls", "tool", "handoff"]
"""Waiting for the first id; ids of a port; a running tool; a handoff from the source's end to the request."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time of one node; instants are seconds since the run started."""

    node: str
    kind: BarKind
    start: float
    end: float
    label: str
    ids: int = 0


@dataclass(frozen=True, slots=True)
class LaneSpan:
    """The ids of one port in one turn."""

    node: str
    turn: int
    port: str
    start: float
    end: float
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TurnSpan:
    """One turn of a model: its prompt, and the tools that it called."""

    node: str
    number: int
    kept: int
    """Ids of the prompt that are the turn before."""
    added: tuple[int, ...]
    """The ids of the prompt behind those."""
    finish_reason: str | None
    tools: list[dict[str, Any]]
    """Attempts: `name`, `status`, `arguments`, `told`, `seconds`."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge of the graph, with the figures of its handoff; None where they were not measured."""

    source: str
    target: str
    strategy: str
    ids_in: int | None = None
    ids_out: int | None = None
    bytes: int | None = None
    """Body bytes of the source's stream."""
    wire_ids: int | None = None
    """Ids of that stream, of all its ports."""
    translate: float | None = None
    detect: float | None = None
    """From the source's last id until its end was detected."""
    tail: float | None = None
    """Translating the text that the source's last id completed."""
    wait: float | None = None
    """From there until the target's other inputs were complete."""
    render: float | None = None
    """Assembling the prompt."""
    queue: float | None = None
    """Until the engine had a free place for the request."""
    request: float | None = None
    """Writing the request, and connecting where no connection was open."""
    engine: float | None = None
    """From there until the target's first id."""
    gap: float | None = None
    """From the source's last id to the target's request: all of these but the engine's."""
    first_id_latency: float | None = None
    """From the source's last id to the target's first: all parts together."""
    prefilled: int = 0
    """Ids of the target's prompt that its engine had prefilled."""
    cached: int | None = None
    """Ids of the target's prompt that its engine found in its cache."""
    engine_queue: float | None = None
    """Of the engine's time: in its own queue; None where it does not report it."""
    engine_prefill: float | None = None
    """Of the engine's time: reading the prompt."""

    @property
    def name(self) -> str:
        """The edge as people write it."""
        return f"{self.source} -> {self.target}"


@dataclass(slots=True)
class TracedRun:
    """One run."""

    name: str
    pipeline: str
    run_id: str
    complete: bool
    seconds: float
    nodes: dict[str, dict[str, Any]]
    """By name, in the order in which they first appear: `map`, `model`, `outcome`, `usage`, `error`, and
    `finish_reason`, which is `length` where the last answer was cut."""
    maps: dict[str, str | None]
    """The hash of each map."""
    edges: list[Edge] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    lanes: list[LaneSpan] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """The text of each text sink."""
    retries: list[dict[str, Any]] = field(default_factory=list)
    """Requests sent again: `node`, `turn`, `kept`, `type`, `message`, `at`."""
    cache_losses: list[dict[str, Any]] = field(default_factory=list)
    """Turns whose engine had forgotten most of the turn before: `node`, `turn`, `kept`, `cached`, and `id`,
    the first one that it read anew."""
    dropped: list[dict[str, Any]] = field(default_factory=list)
    """Prompts that were shortened to fit into the context: `node`, `turn`, `policy`, `before`, `after`,
    `dropped`, and `context`."""
    tools_saved: float = 0.0
    """Seconds by which turns were shorter because tools that only read started while they were generated."""
    trace_id: str | None = None
    """The OpenTelemetry trace of the run."""
    turns: list[TurnSpan] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    """The value of each input."""
    functions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The calls of each function: `given` and `gave`."""

    @property
    def failures(self) -> dict[str, dict[str, str]]:
        """The error of each node that failed: `type` and `message`."""
        return {node: details["error"] for node, details in self.nodes.items() if details.get("error")}

    def summary(self) -> dict[str, Any]:
        """Return the run as plain data, without texts and ids."""
        return {
            "name": self.name,
            "pipeline": self.pipeline,
            "run_id": self.run_id,
            "trace_id": self.trace_id,
            "complete": self.complete,
            "seconds": self.seconds,
            "nodes": self.nodes,
            "retries": self.retries,
            "cache_losses": self.cache_losses,
            "dropped": self.dropped,
            "tools_saved": self.tools_saved,
            "bars": [asdict(bar) for bar in self.bars],
            "edges": [asdict(edge) for edge in self.edges],
        }


def traced(record: RecordedRun, name: str) -> TracedRun:
    """Arrange a record by time."""
    run = TracedRun(
        name=name,
        pipeline=record.header.get("pipeline", ""),
        run_id=record.header.get("run_id", ""),
        complete=record.complete,
        seconds=_last_instant(record),
        nodes=_nodes(record),
        maps=dict(record.header.get("maps", {})),
        trace_id=record.header.get("trace_id"),
        inputs=dict(record.inputs),
        functions=record.functions,
    )
    for turn in record.turns:
        if turn.complete:
            run.nodes[turn.node]["finish_reason"] = turn.finish_reason
        run.lanes += _lanes(turn)
        run.bars += _bars(turn)
        run.turns.append(_turn(turn))
        run.cache_losses += _cache_losses(turn)
        run.tools_saved += tools_saved(turn)
    for line in record.lines:
        _add_line(run, line)
    for drop in run.dropped:  # the context is in another line than the prompts that were shortened to it
        drop["context"] = record.context_of(drop["node"], drop["turn"])
    run.bars.sort(key=lambda bar: bar.start)
    run.edges = list(_edges(record, run))  # last: the ids of an edge without a handoff are those of lanes
    return run


def _nodes(record: RecordedRun) -> dict[str, dict[str, Any]]:
    """Return the details of each node; a node in a loop has an entry per round."""
    worked = {node: record.details(node) for node in record.nodes}
    numbered = {declared_path(node) for node in worked if node not in record.header.get("nodes", {})}
    declared = record.header.get("nodes", {}).items()
    return {node: dict(details) for node, details in declared if node not in numbered} | worked


def _last_instant(record: RecordedRun) -> float:
    instants = [line["at"] for line in record.lines if "at" in line]
    instants += [turn.ended if turn.ended is not None else turn.started for turn in record.turns]
    return max(instants, default=0.0)


def tools_saved(turn: RecordedTurn) -> float:
    """Return the seconds that a turn's tools would have taken longer, had they started when it was over."""
    if turn.ended is None or not turn.tools:
        return 0.0
    longest = max(tool["seconds"] for tool in turn.tools)
    after = max(0.0, max(tool["at"] for tool in turn.tools) - turn.ended)
    return float(max(0.0, longest - after))


def _cache_losses(turn: RecordedTurn) -> Iterator[dict[str, Any]]:
    position = lost_from(turn.kept, turn.cached)
    if position is not None:
        lost = {"kept": turn.kept, "cached": turn.cached, "id": turn.prompt[position]}
        yield {"node": turn.node, "turn": turn.number, **lost}


def _add_line(run: TracedRun, line: dict[str, Any]) -> None:
    kind = line.get("kind")
    if kind == "text":
        run.texts[line["sink"]] = run.texts.get(line["sink"], "") + line["text"]
    elif kind == "node":
        details = run.nodes.setdefault(line["node"], {})
        told = ("outcome", "reason", "probabilities", "usage", "error")
        details |= {key: line[key] for key in told if key in line}
    elif kind in ("retry", "dropped"):
        found = run.retries if kind == "retry" else run.dropped
        found.append({key: value for key, value in line.items() if key != "kind"})
    # Without both instants there is no bar: the source did not end, or the target was not asked.
    elif kind == "handoff" and line["last_in"] is not None and line["request_sent"] is not None:
        target = line["target"].partition(".")[0]
        label = f"{line['source']} -> {line['target']}"
        # As `HandoffReport.began`: a source that is no model has no last id.
        began = line["last_in"] if line.get("last_id") is None else line["last_id"]
        ends = began, line["request_sent"]
        run.bars.append(Bar(target, "handoff", *ends, label=label, ids=line["output_ids"]))


# --- turns ---


def _instant(turn: RecordedTurn, position: int, starts: list[int]) -> float:
    """Return when the id at a position arrived."""
    frame = bisect_right(starts, position) - 1
    return turn.times[frame] if 0 <= frame < len(turn.times) else turn.started


def _frame_starts(turn: RecordedTurn) -> list[int]:
    starts, position = [], 0
    for batch in turn.batches:
        starts.append(position)
        position += len(batch)
    return starts


TOOL_FIELDS = ("name", "status", "arguments", "told", "seconds")


def _turn(turn: RecordedTurn) -> TurnSpan:
    reason = turn.finish_reason if turn.complete else None
    tools = [{name: tool.get(name) for name in TOOL_FIELDS} for tool in turn.tools]
    return TurnSpan(turn.node, turn.number, turn.kept, tuple(turn.prompt[turn.kept :]), reason, tools)


def _lanes(turn: RecordedTurn) -> Iterator[LaneSpan]:
    starts = _frame_starts(turn)
    regions = turn.regions or [("answer", 0, len(turn.generated))] * bool(turn.generated)
    for port, start, stop in regions:
        if stop > start:
            times = _instant(turn, start, starts), _instant(turn, stop - 1, starts)
            yield LaneSpan(turn.node, turn.number, port, *times, ids=tuple(turn.generated[start:stop]))


def _bars(turn: RecordedTurn) -> Iterator[Bar]:
    first = turn.times[0] if turn.times else turn.ended
    if first is not None:
        kept = f", {turn.kept} kept" if turn.kept else ""
        label = f"turn {turn.number}: {turn.prompt_length} prompt ids{kept}"
        yield Bar(turn.node, "wait", turn.started, first, label, turn.prompt_length)
    before = first
    # A bar begins where the one before it ends: between two lanes, markers are generated.
    for lane in _lanes(turn):
        start = before if before is not None else lane.start
        yield Bar(turn.node, lane.port, start, lane.end, f"{lane.port}, {len(lane.ids)} ids", len(lane.ids))  # type: ignore[arg-type] # a port is one of the kinds
        before = lane.end
    for tool in turn.tools:
        start = tool["at"] - tool["seconds"]
        yield Bar(turn.node, "tool", start, tool["at"], f"{tool['name']}: {tool['status']}")


# --- edges ---


def _edges(record: RecordedRun, run: TracedRun) -> Iterator[Edge]:
    first_turns = {turn.node: turn for turn in record.turns if turn.number == 1}
    handoffs = {(h["source"], h["target"]): h for h in record.lines if h.get("kind") == "handoff"}
    for edge in record.header.get("edges", []):
        source, target, strategy = edge["from"], edge["to"], edge["strategy"]
        handoff = handoffs.pop((source, target), None)
        if handoff is not None:
            yield measured(_report(handoff, first_turns), strategy)
        else:
            node, _, port = source.partition(".")
            count = sum(len(lane.ids) for lane in run.lanes if (lane.node, lane.port) == (node, port))
            # No lane is no count: the source is no model, and what it gave is not in the record as ids.
            yield Edge(source, target, strategy, count or None, None)
    # Those inside of maps and loops: a header declares their edges without the numbers of items and rounds.
    for handoff in handoffs.values():
        yield measured(_report(handoff, first_turns), handoff["strategy"])


def _report(handoff: dict[str, Any], first_turns: Mapping[str, RecordedTurn]) -> HandoffReport:
    report = HandoffReport(**{name: handoff[name] for name in REPORTED if name in handoff})
    turn = first_turns.get(report.target.partition(".")[0])
    if turn is None:
        return report
    engine = EngineReport(turn.cached, turn.engine.get("queue"), turn.engine.get("prefill"))
    return report.with_engine(engine)


def measured(report: HandoffReport, strategy: str) -> Edge:
    """Return an edge with the figures of a handoff."""
    parts = report.parts
    return Edge(
        source=report.source,
        target=report.target,
        strategy=strategy,
        ids_in=report.input_ids,
        ids_out=report.output_ids,
        bytes=report.wire_bytes,
        wire_ids=report.wire_ids,
        translate=report.translate_seconds,
        detect=parts.get("detect"),
        tail=parts.get("translate"),
        wait=parts.get("wait"),
        render=parts.get("render"),
        queue=parts.get("queue"),
        request=parts.get("request"),
        engine=parts.get("engine"),
        gap=report.gap,
        first_id_latency=report.first_id_latency,
        prefilled=report.prefilled_ids,
        cached=report.cached_ids,
        engine_queue=report.engine_queue,
        engine_prefill=report.engine_prefill,
    )


REPORTED = HandoffReport.__struct_fields__
