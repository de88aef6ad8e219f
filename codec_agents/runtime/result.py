"""The result of a run, and how its readers see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codec_agents.display.displayed import Displayed
from codec_agents.display.figures import milliseconds, plural, seconds
from codec_agents.events import HandoffReport, Usage
from codec_agents.prompts import History

if TYPE_CHECKING:
    from codec_agents.display.parts import Part

NODE_HEADS = ("node", "ended", "turns", "prompt ids", "ids", "reasoning", "tool calls")
HANDOFF_HEADS = ("handoff", "", "ids in", "ids out", "translate, ms", "gap, ms", "first id, ms")


@dataclass(frozen=True, slots=True)
class RunResult(Displayed):
    """The result of a run. Notebooks and `rich.print` show it as tables."""

    run_id: str
    text: dict[str, str]
    """The text of each text sink."""
    ids: dict[str, list[int]]
    """The ids that reached each sink."""
    usage: dict[str, Usage]
    """The counts of each model node."""
    handoffs: list[HandoffReport]
    """One report per edge into a prompt, in the order of the requests."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """How each node ended."""
    seconds: float = 0.0
    histories: dict[str, History] = field(default_factory=dict)
    """The conversation of each model node: pass the result as `after` to continue it in another run."""
    value: dict[str, Any] = field(default_factory=dict)
    """The value of each model node with an `output` (an instance of its pydantic model, JSON, or a text), and
    the label that each router chose."""
    probabilities: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each router with `sampling.logprobs`: of each label that its engine told, that of its first id."""
    finish_reasons: dict[str, str] = field(default_factory=dict)
    """Why the last turn of each model node ended: `length` is an answer that was cut."""

    @property
    def total(self) -> Usage:
        """The counts of all nodes together."""
        return sum(self.usage.values(), Usage())

    def _display_parts(self) -> Iterable[Part]:
        return _parts(self)


def _parts(result: RunResult) -> Iterator[Part]:
    from codec_agents.display.parts import Grid, Passage, Title

    total = result.total
    counts = (plural(total.turns, "turn"), plural(total.tool_calls, "tool call"))
    made = plural(total.generated_ids, "id")
    yield Title(f"run {result.run_id}: {seconds(result.seconds)}, {', '.join(counts)}, {made} generated")
    for sink, text in result.text.items():
        yield Passage(sink, text)
    if kept := [(sink, ids) for sink, ids in result.ids.items() if sink not in result.text]:
        yield Grid(("sink of ids", "ids"), [(sink, f"{len(ids):,}") for sink, ids in kept])
    if result.outcomes:
        rows = [_node(result, name, outcome) for name, outcome in result.outcomes.items()]
        yield Grid(NODE_HEADS, rows)
    if result.handoffs:
        yield Grid(HANDOFF_HEADS, [_handoff(report) for report in result.handoffs])


def _node(result: RunResult, name: str, outcome: str) -> tuple[str, ...]:
    usage = result.usage.get(name)
    ended = f"{outcome}, cut" if result.finish_reasons.get(name) == "length" else outcome
    return (name, ended, *(_counts(usage) if usage else [""] * (len(NODE_HEADS) - 2)))


def _counts(usage: Usage) -> list[str]:
    counts = (
        usage.turns,
        usage.prompt_ids,
        usage.generated_ids,
        usage.reasoning_ids,
        usage.tool_calls,
    )
    return [f"{count:,}" for count in counts]


def _handoff(report: HandoffReport) -> tuple[str, ...]:
    return (
        f"{report.source} → {report.target}",
        report.strategy.replace("_", " "),
        "text" if report.strategy == "encode" else f"{report.input_ids:,}",
        f"{report.output_ids:,}",
        milliseconds(report.translate_seconds),
        milliseconds(report.gap),
        milliseconds(report.first_id_latency),
    )
