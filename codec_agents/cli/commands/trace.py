"""`codec-agents trace`: show recorded runs as a waterfall and a handoff table, or as a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import RECORD, ExistingPath, as_json

if TYPE_CHECKING:
    from codec_agents.trace import Bar, TracedRun

STYLES = {
    "wait": "bright_black",
    "reasoning": "magenta",
    "answer": "green",
    "tool_calls": "cyan",
    "tool": "yellow",
    "handoff": "red",
}
LETTERS = {"wait": ".", "reasoning": "r", "answer": "a", "tool_calls": "c", "tool": "t", "handoff": "h"}
"""The letter of a bar without colours."""
MAX_ROWS = 60
"""Rows of a waterfall; the page shows more."""


@click.command("trace", short_help="Show recorded runs: waterfall, failures and handoffs.")
@click.argument("files", nargs=-1, required=True, type=RECORD)
@as_json
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page for the browser.")
@click.option(
    "--map", "maps", multiple=True, type=ExistingPath(), help="A map to decode ids with, beside the bundled."
)
@click.option("--node", help="Only the nodes whose name contains this.")
@reporting
def command(
    files: Sequence[Path], as_json: bool, html: Path | None, maps: Sequence[Path], node: str | None
) -> None:
    """Show the runs that FILES record: a waterfall, failures and retries, and the cost of each handoff.

    Records come from `run --record` or `run --trace`. Given several, the table shows percentiles over them.
    Damaged ones are shown up to the damage; the command then ends with 6.
    """
    from codec_agents.cli.terminal.tables import show_handoffs
    from codec_agents.trace import edge_figures, read_up_to_damage, write_page

    if as_json and html is not None:
        raise click.UsageError("--json and --html exclude each other")
    if maps and html is None:
        raise click.UsageError("--map is an option of --html: ids are decoded on the page alone")
    if node is not None and (as_json or html is not None):
        raise click.UsageError("--node chooses rows of the waterfall; leave it out with --json and --html")
    runs, damage = read_up_to_damage(files)
    if as_json and damage is not None:  # a program would take the document for that of whole records
        raise damage
    if html is not None:
        write_page(html, runs, maps)
        terminal.echo(f"wrote {html}", err=True)
    elif as_json:
        figures = [asdict(edge) for edge in edge_figures(runs)]
        terminal.print_json({"runs": [run.summary() for run in runs], "edges": figures})
    else:
        console = terminal.new_console()
        # One waterfall, of the last run: the table below sums up all.
        for run in runs[-1:]:
            show_waterfall(console, run, node)
        show_handoffs(console, edge_figures(runs))
    if damage is not None:
        raise damage


def show_waterfall(console: Console, run: TracedRun, node: str | None = None) -> None:
    """Print the work of each node over time."""
    width = terminal.width(console)
    rows = _rows(bar for bar in run.bars if node is None or node in bar.node)
    # Names leave most of the line to the bars; longer ones are cut.
    left = min(max(map(len, rows), default=4), width // 4)
    # Twelve columns: nine for the seconds of work, two spaces, and one that stays free.
    room = max(10, width - left - 12)
    state = "" if run.complete else ", not complete"
    console.print(Text(f"{run.pipeline} {run.name}: {terminal.seconds(run.seconds)}{state}", style="bold"))
    # A block says what it is by its colour alone; without colours, or without such characters, letters do.
    solid = terminal.glyphs(console).gutter == "│" and console.color_system is not None
    for name, bars in list(rows.items())[:MAX_ROWS]:
        line = Text(f"{name if len(name) <= left else name[: left - 1] + '.':<{left}} ")
        line.append_text(_drawn(bars, run.seconds, room, solid=solid))
        # A handoff is no work of the node: it waits for another one's.
        worked = sum(bar.end - bar.start for bar in bars if bar.kind != "handoff")
        line.append(f" {terminal.seconds(worked):>9}")
        console.print(line, soft_wrap=True)
    if len(rows) > MAX_ROWS:
        console.print(Text(f"{len(rows) - MAX_ROWS} more: choose with --node, or see the page of --html"))
    show_troubles(console, run)
    legend = Text("  ").join(Text(f"{LETTERS[kind]} {kind}", style=style) for kind, style in STYLES.items())
    console.print(legend, width=width)


def show_troubles(console: Console, run: TracedRun) -> None:
    """Print the failures, retries, cut answers, dropped histories and cache losses of a run."""
    bad = terminal.glyphs(console).bad
    for retry in run.retries:
        kept = f", keeping {terminal.plural(retry['kept'], 'id')}" if retry["kept"] else ""
        _note(
            console,
            f"{retry['node']} asked again in turn {retry['turn']}{kept}: {retry['type']}: {retry['message']}",
            "yellow",
        )
    for lost in run.cache_losses:
        found = f"{lost['cached']:,} of the {lost['kept']:,} ids of the turn before in its engine's cache"
        text = f"{lost['node']} found {found} in turn {lost['turn']}, and read anew from id {lost['id']} on"
        _note(console, text, "yellow")
    for drop in run.dropped:
        less = f"{drop['before']:,} ids would have been in its prompt, {drop['after']:,} are"
        text = f"{drop['node']} dropped history before turn {drop['turn']} ({drop['policy']}): {less}"
        _note(console, text, "yellow")
    for node, details in run.nodes.items():
        if details.get("finish_reason") == "length":
            _note(console, f"{node} was cut: its last turn ended at its limit of ids", "yellow")
    for node, error in run.failures.items():
        _note(console, f"{bad} {node} failed: {error['type']}: {error['message']}", "red")


def _note(console: Console, text: str, style: str) -> None:
    console.print(Text(terminal.escape_line(text), style=style), soft_wrap=True)


def _rows(bars: Iterable[Bar]) -> dict[str, list[Bar]]:
    """Return a row for each node, and below it one for each of its tools."""
    nodes: dict[str, dict[str, list[Bar]]] = {}
    for bar in bars:
        tool = bar.label.partition(":")[0] if bar.kind == "tool" else ""
        nodes.setdefault(bar.node, {"": []}).setdefault(tool, []).append(bar)
    parts = [(node, tool, found) for node, tools in nodes.items() for tool, found in tools.items() if found]
    return {f"{node} {tool}".rstrip(): found for node, tool, found in parts}


def _drawn(bars: Iterable[Bar], whole: float, room: int, *, solid: bool) -> Text:
    """Return a row of bars; of two in one column a handoff is drawn, or else the later one."""
    columns = [(" ", "")] * room
    for bar in sorted(bars, key=lambda bar: bar.kind == "handoff"):
        start, length = _extent(bar.start, bar.end, whole, room)
        cell = ("█" if solid else LETTERS[bar.kind], STYLES[bar.kind])
        columns[start : start + length] = [cell] * length
    return Text.assemble(*columns)


def _extent(start: float, end: float, whole: float, room: int) -> tuple[int, int]:
    """Return the first column and the length of a bar; at least one column."""
    scale = room / whole if whole > 0 else 0.0
    first = min(int(start * scale), room - 1)
    return first, min(max(1, round((end - start) * scale)), room - first)
