"""The closing tables of a run: the content of each handoff, and the parts of its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.trace.percentiles import PARTS, EdgeFigures, percentile

if TYPE_CHECKING:
    from codec_agents.runtime.result import RunResult

NamedEdge: TypeAlias = tuple[str, EdgeFigures]
"""The name of a handoff, and its figures."""

NAME_SHARE = 0.4
"""The part of a narrow terminal that the names of handoffs may take; longer names are folded."""

MIN_NAME = 8
"""Columns for names at least."""

GAP = 2
"""Spaces between columns."""

LEGEND = (
    "after the source's last id, until: its end is seen (detect), its tail is translated (tail), the prompt "
    "is put together (render), the request is written (request), the target's first id comes (engine)"
)

WORDS = {"pass_through": "as they are"}
"""Words for strategies whose names are not plain."""

RARE_PARTS = frozenset({"wait", "queue"})
"""Parts with a column only where they took time: another input was late, or the engine was full."""
NOTABLE = 5e-5
"""Seconds from which a rare part is shown; less is the cost of measuring."""


def show_handoffs(console: Console, edges: Sequence[EdgeFigures]) -> None:
    """Print the content and times of each handoff; percentiles where there are several of one."""
    if not edges:
        return
    named = list(zip(_names(edges, terminal.glyphs(console).arrow), edges, strict=True))
    tables = [_carried(named), _times(named)]
    if several := [(name, edge) for name, edge in named if edge.runs > 1]:
        tables.append(_spread(several))
    room = terminal.width(console)
    for figures in tables:
        for part in figures.parts(room):
            console.print()
            console.print(part, width=room)
    console.print()
    console.print(Text(LEGEND, style="dim"), width=room)


@dataclass(frozen=True, slots=True)
class Figures:
    """A table of figures: a name per row, and right-aligned columns."""

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]

    def parts(self, room: int) -> Iterator[Table]:
        """Yield tables that are at most `room` wide; a wider one is broken between its columns."""
        # There is at least one row: a table without any is not made.
        names = max(cell_len(self.title), *(cell_len(name) for name, _ in self.rows))
        widths = [
            max(cell_len(head), *(cell_len(cells[index]) for _, cells in self.rows))
            for index, head in enumerate(self.heads)
        ]
        if names + sum(widths) + GAP * len(widths) > room:
            names = min(names, max(int(room * NAME_SHARE), MIN_NAME))
        chosen: list[int] = []
        used = names
        for index, width in enumerate(widths):
            if chosen and used + GAP + width > room:
                yield self._table(names, chosen)
                chosen, used = [], names
            chosen.append(index)
            used += GAP + width
        yield self._table(names, chosen)

    def _table(self, names: int, chosen: Sequence[int]) -> Table:
        table = Table(box=None, padding=(0, 0, 0, GAP), pad_edge=False, header_style="dim")
        table.add_column(Text(self.title, style="bold"), overflow="fold", width=names)
        for index in chosen:
            table.add_column(self.heads[index], justify="right", no_wrap=True)
        for name, cells in self.rows:
            table.add_row(name, *(cells[index] for index in chosen))
        return table


def _names(edges: Sequence[EdgeFigures], arrow: str) -> list[str]:
    """Return a name for each edge: its nodes, and ports and slots where the nodes alone are ambiguous."""
    short = [f"{_node(edge.source)} {arrow} {_node(edge.target)}" for edge in edges]
    return [
        name if short.count(name) == 1 else f"{edge.source} {arrow} {edge.target}"
        for name, edge in zip(short, edges, strict=True)
    ]


def _node(end: str) -> str:
    return end.rpartition(".")[0] or end


def _carried(named: Iterable[NamedEdge]) -> Figures:
    rows = [
        (
            name,
            (
                WORDS.get(edge.strategy, edge.strategy),
                # Text has no ids before it is encoded: 0 would read as an empty edge.
                f"{edge.ids_in:,.0f}" if edge.strategy != "encode" else "text",
                f"{edge.ids_out:,.0f}",
                *(
                    (f"{edge.bytes:,.0f}", f"{edge.bytes / edge.wire_ids:.1f}")
                    if edge.wire_ids
                    else ("-", "-")
                ),
                terminal.seconds(percentile(edge.translate, 50)),
            ),
        )
        for name, edge in named
    ]
    return Figures("handed on", ("", "ids in", "ids out", "bytes", "bytes/id", "translate"), rows)


def _times(named: Sequence[NamedEdge]) -> Figures:
    medians = [_medians(edge) for _, edge in named]
    unseen = {part for part in RARE_PARTS if all((found[part] or 0.0) < NOTABLE for found in medians)}
    ours = [part for part in PARTS if part != "engine" and part not in unseen]
    shown = [*ours, "gap", "engine", "first id"]
    title = "median ms" if any(edge.runs > 1 for _, edge in named) else "time, ms"
    rows = [
        (name, [terminal.milliseconds(found[part]) for part in shown])
        for (name, _), found in zip(named, medians, strict=True)
    ]
    return Figures(title, shown, rows)


def _medians(edge: EdgeFigures) -> dict[str, float | None]:
    times = {**edge.parts, "gap": edge.gap, "first id": edge.first_id}
    return {name: percentile(values, 50) for name, values in times.items()}


def _spread(named: Iterable[NamedEdge]) -> Figures:
    rows = []
    for name, edge in named:
        figures = (
            percentile(values, share) for values in (edge.gap, edge.first_id) for share in (50, 90, 99)
        )
        rows.append((name, [f"{edge.runs:,}", *map(terminal.milliseconds, figures)]))
    return Figures("spread, ms", ("times", "gap p50", "p90", "p99", "first id p50", "p90", "p99"), rows)


def show_totals(console: Console, result: RunResult, id_sinks: Iterable[str]) -> None:
    """Print one line per id sink, and one for the whole run."""
    from codec_agents.plan.nodes import declared_path

    total = result.total
    for sink in id_sinks:
        kept = terminal.plural(len(result.ids.get(sink, [])), "id")
        console.print(Text(f"{sink}: {kept} kept, unread", style="dim"))
    dot = f" {terminal.glyphs(console).dot} "
    parts = (
        # The items of a map and the rounds of a loop ask the same model.
        terminal.plural(len(set(map(declared_path, result.usage))), "model"),
        terminal.plural(total.turns, "turn"),
        terminal.plural(total.tool_calls, "tool call"),
        f"{total.generated_ids:,} ids generated ({total.reasoning_ids:,} reasoning)",
        f"{terminal.size(total.bytes_received)} received",
        terminal.seconds(result.seconds),
    )
    console.print(Text(dot.join(parts), style="dim"), width=terminal.width(console))
