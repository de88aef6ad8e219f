"""The closing tables of a run: what each handoff carried, and where its time went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.trace.percentiles import PARTS, EdgeFigures, percentile

if TYPE_CHECKING:
    from codec_agents.runtime.run import RunResult

NamedEdge: TypeAlias = tuple[str, EdgeFigures]
"""A handoff's figures, after what it is called."""

NARROWEST = 80
"""Columns for a table at least: on a narrower terminal its lines run over, and nothing is left out."""

LEGEND = (
    "after the source's last id, until: its end is seen (detect), its tail is translated (tail), the prompt "
    "is put together (render), the request is written (request), the target's first id comes (engine)"
)

WORDS = {"pass_through": "as they are"}
"""What a strategy is called here, where that is another word."""

RARE_PARTS = frozenset({"wait", "queue"})
"""Parts that have a column only where they took time: another input to wait for, an engine that is full."""
NOTABLE = 5e-5
"""Seconds from which a rare part is shown; less is what it costs to look."""


def show_handoffs(console: Console, edges: Sequence[EdgeFigures]) -> None:
    """Print what each handoff carried and where its time went; percentiles where there are several of one."""
    if not edges:
        return
    named = list(zip(_names(edges, terminal.glyphs(console).arrow), edges, strict=True))
    tables = [_carried(named), _times(named)]
    if several := [(name, edge) for name, edge in named if edge.runs > 1]:
        tables.append(_spread(several))
    own_width = console.width
    console.width = max(NARROWEST, terminal.width(console))
    for table in tables:
        console.print()
        console.print(table)
    console.width = own_width
    console.print()
    console.print(Text(LEGEND, style="dim"), width=terminal.width(console))


def _names(edges: Sequence[EdgeFigures], arrow: str) -> list[str]:
    """Return what to call each edge: its nodes, with ports and slots where those say too little."""
    short = [f"{_node(edge.source)} {arrow} {_node(edge.target)}" for edge in edges]
    return [
        name if short.count(name) == 1 else f"{edge.source} {arrow} {edge.target}"
        for name, edge in zip(short, edges, strict=True)
    ]


def _node(end: str) -> str:
    return end.rpartition(".")[0] or end


def _new_table(title: str, columns: Iterable[str]) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="dim")
    table.add_column(Text(title, style="bold"), overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _carried(named: Iterable[NamedEdge]) -> Table:
    table = _new_table("handed on", ("", "ids in", "ids out", "bytes", "bytes/id", "translate"))
    for name, edge in named:
        table.add_row(
            name,
            WORDS.get(edge.strategy, edge.strategy),
            f"{edge.ids_in:,.0f}" if edge.strategy != "encode" else "text",
            f"{edge.ids_out:,.0f}",
            *((f"{edge.bytes:,.0f}", f"{edge.bytes / edge.wire_ids:.1f}") if edge.wire_ids else ("-", "-")),
            terminal.seconds(percentile(edge.translate, 50)),
        )
    return table


def _times(named: Sequence[NamedEdge]) -> Table:
    medians = [_medians(edge) for _, edge in named]
    unseen = {part for part in RARE_PARTS if all((found[part] or 0.0) < NOTABLE for found in medians)}
    ours = [part for part in PARTS if part != "engine" and part not in unseen]
    shown = [*ours, "gap", "engine", "first id"]
    table = _new_table("median ms" if any(edge.runs > 1 for _, edge in named) else "time, ms", shown)
    for (name, _), found in zip(named, medians, strict=True):
        table.add_row(name, *(terminal.milliseconds(found[part]) for part in shown))
    return table


def _medians(edge: EdgeFigures) -> dict[str, float | None]:
    times = {**edge.parts, "gap": edge.gap, "first id": edge.first_id}
    return {name: percentile(values, 50) for name, values in times.items()}


def _spread(named: Iterable[NamedEdge]) -> Table:
    table = _new_table("spread, ms", ("times", "gap p50", "p90", "p99", "first id p50", "p90", "p99"))
    for name, edge in named:
        figures = (
            percentile(values, share) for values in (edge.gap, edge.first_id) for share in (50, 90, 99)
        )
        table.add_row(name, f"{edge.runs:,}", *map(terminal.milliseconds, figures))
    return table


def show_totals(console: Console, result: RunResult, id_sinks: Iterable[str]) -> None:
    """Print one line for each id sink, and one for the whole run."""
    from codec_agents.plan.nodes import declared_path

    total = result.total
    for sink in id_sinks:
        kept = terminal.plural(len(result.ids.get(sink, [])), "id")
        console.print(Text(f"{sink}: {kept} kept, unread", style="dim"))
    dot = f" {terminal.glyphs(console).dot} "
    parts = (
        terminal.plural(len(set(map(declared_path, result.usage))), "model"),
        terminal.plural(total.turns, "turn"),
        terminal.plural(total.tool_calls, "tool call"),
        f"{total.generated_ids:,} ids generated ({total.reasoning_ids:,} reasoning)",
        f"{terminal.size(total.bytes_received)} received",
        terminal.seconds(result.seconds),
    )
    console.print(Text(dot.join(parts), style="dim"), width=terminal.width(console))
