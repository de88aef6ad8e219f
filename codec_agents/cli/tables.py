"""The closing table of a run: what each handoff did and cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codec_agents.cli import terminal

if TYPE_CHECKING:
    from codec_agents.events import HandoffReport
    from codec_agents.runtime import RunResult

WIDE = 118
"""Columns from which a handoff is a row of a table; below, it is a few lines."""

COLUMNS = (
    ("handoff", "left"),
    ("", "left"),
    ("ids in", "right"),
    ("ids out", "right"),
    ("bytes", "right"),
    ("bytes/id", "right"),
    ("translate", "right"),
    ("gap", "right"),
    ("first id", "right"),
)

LEGEND = (
    "bytes: on the wire, of the source's stream; gap: from the source's last id to the target's request; "
    "first id: to the target's first id"
)

WORDS = {"pass_through": "as they are", "translate": "translate", "encode": "encode"}


def show_handoffs(console: Console, reports: Iterable[HandoffReport]) -> None:
    """Print the handoffs: as a table, or one below the other where the terminal is narrow."""
    reports = list(reports)
    if not reports:
        return
    console.print()
    if console.width >= WIDE:
        _show_table(console, reports)
    else:
        _show_list(console, reports)
    console.print(Text(LEGEND, style="dim"), width=terminal.width(console))


def _show_table(console: Console, reports: Sequence[HandoffReport]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, safe_box=True)
    for title, justify in COLUMNS:
        table.add_column(title, justify=justify, no_wrap=title != "handoff")  # type: ignore[arg-type]
    arrow = terminal.glyphs(console).arrow
    for report in reports:
        table.add_row(f"{report.source} {arrow} {report.target}", *cells(report))
    console.print(table)


def _show_list(console: Console, reports: Sequence[HandoffReport]) -> None:
    for report in reports:
        titles = (title for title, _ in COLUMNS[1:])
        pairs = zip(titles, cells(report), strict=True)
        show_item(console, f"{report.source} {terminal.glyphs(console).arrow} {report.target}", pairs)


def show_item(console: Console, name: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Print a name, and below it what is known of it; a figure and its title stay on one line."""
    dot = f" {terminal.glyphs(console).dot} "
    console.print(Text(name, style="bold"))
    line = ""
    for title, value in pairs:
        part = f"{title} {value}".strip()
        if value == "-":
            continue
        if line and len(line) + len(dot) + len(part) > terminal.width(console):
            console.print(Text(line), soft_wrap=True)
            line = ""
        line += f"{dot if line else '  '}{part}"
    console.print(Text(line), soft_wrap=True)


def cells(report: HandoffReport) -> Iterator[str]:
    """Yield the figures of a handoff, in the order of the columns."""
    yield WORDS.get(report.strategy, report.strategy)
    yield f"{report.input_ids:,}" if report.strategy != "encode" else "text"
    yield f"{report.output_ids:,}"
    yield f"{report.wire_bytes:,}" if report.wire_ids else "-"
    yield f"{report.bytes_per_id:.1f}" if report.bytes_per_id is not None else "-"
    yield terminal.seconds(report.translate_seconds)
    yield terminal.seconds(report.gap)
    yield terminal.seconds(report.first_id_latency)


def show_totals(console: Console, result: RunResult, id_sinks: Iterable[str]) -> None:
    """Print one line for each id sink, and one for the whole run."""
    from codec_agents.built import declared_path

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
