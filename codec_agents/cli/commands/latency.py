"""`codec-agents latency`: where the time between models goes, and what each setting saves."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from rich.console import Console
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.inputs import input_option, inputs_of
from codec_agents.cli.options import as_json, load, pipeline_file

if TYPE_CHECKING:
    from codec_agents.cli.latency import EdgeTimes, Measurement

HEADS = ("ids", "bytes/id", "gap", "queue", "read", "engine", "first id", "saved", "ahead", "cached")

NO_HANDOFF = "there is no handoff to measure: nothing that takes time feeds the prompt of a model"

LEGEND = (
    "medians; milliseconds, after the source's last id: until the request is written (gap), the engine's own "
    "queue and reading of the prompt where it reports them (queue, read), from the request to the first id "
    "(engine), all together (first id), how much less that is than as declared (saved); ids of the prompt "
    "that were sent ahead, and that the engine found in its cache; - is unknown"
)


@click.command("latency", short_help="Measure where the time between models goes.")
@pipeline_file
@input_option
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Runs of each way."
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with the waterfall of each way.",
)
@as_json
@reporting
def command(file: Path, pairs: tuple[str, ...], rounds: int, html: Path | None, as_json: bool) -> None:
    """Run the pipeline in FILE several times, and report where the time between its models goes.

    It is run as declared, and with one setting changed: requests ahead (`prefill`) off or automatic, one or
    16 ids per event; and by text, through the chat APIs of the same servers. The ways take turns, after a
    round that warms up. A mark before each text input keeps engines from finding the run before in their
    caches. Tools are called in every run.
    """
    from codec_agents.cli.latency import measure, ways
    from codec_agents.trace import write_page

    pipeline = load(file)
    inputs = inputs_of(pipeline, pairs)
    with tempfile.TemporaryDirectory(prefix="codec-latency-") as folder, terminal.GrowingLine() as line:

        def progress(number: int, of: int) -> None:
            line.show(f"run {number} of {of}")

        measured = anyio.run(measure, ways(pipeline), inputs, rounds, Path(folder), progress)
    if html is not None:
        write_page(html, measured.runs)
    if as_json:
        document = {"file": str(file), "rounds": rounds, "ways": [asdict(way) for way in measured.ways]}
        terminal.print_json({**document, "left_out": measured.left_out})
        return
    _show(terminal.new_console(), measured)
    if html is not None:
        terminal.echo(f"wrote {html}", err=True)


def _show(console: Console, measured: Measurement) -> None:
    """Print a table for each handoff, with a row for each way."""
    from codec_agents.cli.terminal.tables import Figures

    found = measured.ways
    room = terminal.width(console)
    for edge in found[0].edges:
        console.print(Text(terminal.escape_line(edge.edge), style="bold"), soft_wrap=True)
        rows = [
            (way.way, _cells(each, edge)) for way in found for each in way.edges if each.edge == edge.edge
        ]
        # The way as declared is among the ways, so there is at least one row.
        for part in Figures("", HEADS, rows).parts(room):
            console.print(part, width=room)
            console.print()
    for way in found:
        saved = (
            f", {terminal.seconds(way.tools_saved)} less by tools that started early"
            if way.tools_saved
            else ""
        )
        console.print(
            Text(f"{way.way}: the whole run took {terminal.seconds(way.seconds)}{saved}"), soft_wrap=True
        )
    for left_out, why in measured.left_out.items():
        # Its faults have a line each.
        console.print(Text(terminal.escape(f"{left_out}: left out: {why}")), soft_wrap=True)
    # Without a table, there is nothing to explain.
    console.print(Text(LEGEND if found[0].edges else NO_HANDOFF, style="dim"), soft_wrap=True)


def _cells(times: EdgeTimes, declared: EdgeTimes) -> list[str]:
    saved = None
    if times is not declared and times.first_id is not None and declared.first_id is not None:
        saved = declared.first_id - times.first_id
    spans = (times.gap, times.engine_queue, times.engine_prefill, times.engine, times.first_id, saved)
    cached = "-" if times.cached is None else f"{times.cached:,.0f}"
    received = "-" if times.bytes_per_id is None else f"{times.bytes_per_id:.1f}"
    durations = map(terminal.milliseconds, spans)
    return [f"{times.ids:,.0f}", received, *durations, f"{times.sent_ahead:,.0f}", cached]
