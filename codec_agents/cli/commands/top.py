"""`codec-agents top`: the edges of a run while it goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.inputs import input_option, inputs_of
from codec_agents.cli.options import Number, load, pipeline_file
from codec_agents.runtime.own_loop import run_to_the_end

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline
    from codec_agents.runtime.edges.state import EdgeState
    from codec_agents.runtime.run import Run

DEFAULT_INTERVAL = 0.5
"""Seconds between two looks: often enough to see a queue fill, rarely enough to be read."""

FULL = 0.8
"""Share of a buffer from which its edge is shown as filling up."""


@dataclass(frozen=True, slots=True)
class EdgeSample:
    """An edge at one look, and its changes since the look before."""

    state: EdgeState
    per_second: float
    """Ids or characters that entered the edge, per second."""
    blocked_share: float
    """Share of the time in which its source waited for room."""

    @property
    def name(self) -> str:
        """The edge as people write it."""
        return f"{self.state.source} -> {self.state.target}"


class Sampler:
    """Looks at a run repeatedly."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._at = run.seconds
        self._before: dict[tuple[str, str], EdgeState] = {}

    def look(self) -> tuple[float, list[EdgeSample]]:
        """Return the instant, in seconds since the run began, and all edges of what runs."""
        now, states = self._run.seconds, self._run.edges()
        samples = [self._sample(state, now - self._at) for state in states]
        self._at = now
        self._before = {(state.source, state.target): state for state in states}
        return now, samples

    def _sample(self, state: EdgeState, seconds: float) -> EdgeSample:
        before = self._before.get((state.source, state.target))
        sent, blocked = (before.sent, before.blocked_seconds) if before else (0, 0.0)
        if seconds <= 0:
            return EdgeSample(state, 0.0, 0.0)
        # The states are read a little after the instant, so the quotient may be more than 1.
        share = min(1.0, (state.blocked_seconds - blocked) / seconds)
        return EdgeSample(state, (state.sent - sent) / seconds, share)


class View(Protocol):
    """Shows a look."""

    def show(self, at: float, samples: Sequence[EdgeSample]) -> None:
        """Show it."""


@click.command("top")
@pipeline_file
@input_option
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each look.")
@click.option(
    "--interval",
    type=Number(min=0.01),
    default=DEFAULT_INTERVAL,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Write the run's record.")
@reporting
def command(file: Path, pairs: tuple[str, ...], as_json: bool, interval: float, record: Path | None) -> None:
    """Run the pipeline in FILE and show its edges while it goes.

    For each edge: the rate, how full its queue is, and how long its source waited for room. If standard
    output is not a terminal, prints lines of JSON.
    """
    pipeline = load(file)
    inputs = inputs_of(pipeline, pairs)
    with ExitStack() as stack:
        if as_json or not sys.stdout.isatty():
            view: View = JsonLines()
        else:
            console = terminal.new_console()
            view = LiveTable(console, stack.enter_context(Live(console=console, auto_refresh=False)))
        run_to_the_end(partial(_watch, pipeline, inputs, record, view, interval))


async def _watch(
    pipeline: Pipeline, inputs: Mapping[str, str], record: Path | None, view: View, interval: float
) -> None:
    async with pipeline.opened(), pipeline.run(inputs, record=record) as run:
        sampler = Sampler(run)
        try:
            while not await _over(run, interval):
                view.show(*sampler.look())
        finally:
            view.show(*sampler.look())


async def _over(run: Run, within: float) -> bool:
    """Wait a while for the end of a run; return true if it came."""
    with anyio.move_on_after(within):
        await run.wait()
        return True
    return False


# --- two ways to show a look ---


class JsonLines:
    """Lines of JSON."""

    def show(self, at: float, samples: Sequence[EdgeSample]) -> None:
        """Print one line."""
        import msgspec

        edges = [_document(sample) for sample in samples]
        terminal.echo_json(msgspec.json.encode({"at": round(at, 6), "edges": edges}).decode())


def _document(sample: EdgeSample) -> dict[str, Any]:
    figures = {"per_second": sample.per_second, "blocked_share": sample.blocked_share}
    return {**asdict(sample.state), **figures}


class LiveTable:
    """A table that stays in its place; the last one remains."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live

    def show(self, at: float, samples: Sequence[EdgeSample]) -> None:
        """Draw the table again."""
        self._live.update(table_of(self._console, at, samples), refresh=True)


def table_of(console: Console, at: float, samples: Sequence[EdgeSample]) -> Table:
    """Return the table of a look, no higher than the terminal."""
    signs = terminal.glyphs(console)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"after {terminal.seconds(at)}")
    table.add_column("edge")
    for head in ("sent", "a second", "queue", "blocked", "now"):
        table.add_column(head, justify="right", no_wrap=True)
    # Six lines are not rows: the title, the head and its rules, the count of rows left out, the cursor.
    # However low the terminal is, some are shown: with a negative number the slice counts from the end.
    room = max(3, console.height - 6)
    for sample in samples[:room]:
        table.add_row(sample.name.replace("->", signs.arrow), *_cells(sample))
    if len(samples) > room:
        table.add_row(f"{len(samples) - room} more")
    return table


def _cells(sample: EdgeSample) -> list[str | Text]:
    state = sample.state
    unit = "" if state.unit == "ids" else " ch"
    full = state.held >= FULL * state.buffer
    return [
        f"{state.sent:,}{unit}",
        f"{sample.per_second:,.0f}{unit}",
        Text(f"{state.held:,}/{state.buffer:,}", style="yellow" if full else ""),
        f"{terminal.seconds(state.blocked_seconds)} {sample.blocked_share:.0%}",
        Text("blocked", style="red") if state.blocked else Text("open" if state.open else "ended"),
    ]
