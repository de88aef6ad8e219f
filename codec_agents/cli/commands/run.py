"""`codec-agents run`: run a pipeline and show it; `resume` shows the rest of a run in the same ways."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
from rich.console import Console
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.approval import approver, suspend
from codec_agents.cli.documents import cut_answers, event_line, result_document
from codec_agents.cli.exits import reporting
from codec_agents.cli.inputs import input_option, inputs_of
from codec_agents.cli.options import as_json, load, pipeline_file
from codec_agents.exceptions import ApprovalRequiredError, RecordError
from codec_agents.runtime.own_loop import run_to_the_end

if TYPE_CHECKING:
    from codec_agents.cli.terminal.lanes import LaneKey, LanePrinter
    from codec_agents.pipeline import Pipeline
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.runtime.run import Run


PREPARED_WITHIN = 2.0
"""Seconds for starting embedded servers and connecting to others before the run is timed; for what takes
longer, the run itself waits."""

TRACE_SUFFIXES = (".html", ".jsonl")
"""A page, or a record that `trace` reads."""


OPTIONS = (
    as_json,
    click.option("--events", is_flag=True, help="Print each event as a line of JSON, as it happens."),
    click.option("-q", "--quiet", is_flag=True, help="Print the text of the text sinks and nothing else."),
    click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Write the run's record."),
    click.option(
        "--durability",
        type=click.Choice(["os", "disk"]),
        default="os",
        help="With --record: `disk` writes each line through to the disk.  [default: os]",
    ),
    click.option(
        "--trace",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write a trace: a page (.html), or a record (.jsonl) that `trace` reads.",
    ),
    click.option(
        "--pause",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Where a tool needs approval, suspend the run into this file and end; `resume` continues it.",
    ),
)
"""The options that `run` and `resume` share."""


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a run that is shown to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command("run")
@pipeline_file
@input_option
@with_options
@reporting
def command(file: Path, pairs: tuple[str, ...], **options: Any) -> None:
    """Run the pipeline in FILE.

    Shows what the models think, which tools they call and what they answer, as it comes, and then what each
    handoff between them cost. Where a tool needs approval, a terminal is asked.
    """
    pipeline = load(file)
    inputs = inputs_of(pipeline, pairs)
    show_run(file, pipeline, lambda **chosen: pipeline.run(inputs, **chosen), **options)


def show_run(
    file: Path,
    pipeline: Pipeline,
    begin: Callable[..., Run],
    *,
    as_json: bool,
    events: bool,
    quiet: bool,
    record: Path | None,
    durability: str,
    trace: Path | None,
    pause: Path | None,
) -> None:
    """Show a run as the options say.

    Args:
        file: The file that declares the pipeline.
        pipeline: The pipeline.
        begin: Returns the run, given its options.
        as_json: Print one document at the end.
        events: Print each event as a line of JSON.
        quiet: Print the text of the text sinks alone.
        record: The file of the record.
        durability: Where each line of the record is before the run continues.
        trace: The file of the trace.
        pause: The file of a run that waits for approval; None asks at the terminal, if there is one.
    """
    if as_json + events + quiet > 1:
        raise click.UsageError("--json, --events and --quiet exclude each other")
    if durability != "os" and record is None and trace is None:
        raise click.UsageError("--durability needs --record")
    for name, path in (("--trace", trace), ("--pause", pause)):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder {path.parent}; make it first", param_hint=name)
    if trace is not None and trace.suffix not in TRACE_SUFFIXES:
        endings = " or ".join(TRACE_SUFFIXES)
        raise click.BadParameter(
            f"a trace is a page or a record: end the name {trace.name!r} in {endings}", param_hint="--trace"
        )
    show = _show_json if as_json else _show_events if events else _show_quiet if quiet else _show_lanes
    written = record or (_record_beside(trace) if trace else None)
    begun: list[Run] = []

    def start() -> Run:
        begun.append(begin(record=written, durability=durability, approve=None if pause else approver()))
        return begun[0]

    try:
        run_to_the_end(partial(_run, pipeline, start, show))
    except ApprovalRequiredError as waiting:
        if pause is None:
            raise
        suspend(waiting, file, pause, as_json=as_json)
    finally:
        # Before a run begins, the file holds the record of an earlier one.
        if begun and trace is not None and written is not None and written.exists():
            # An interrupt and the exit of a suspended run are none: their records are as good as any.
            failed = isinstance(sys.exception(), Exception)
            _finish_trace(trace, written, keep=record is not None, failed=failed)


async def _run(pipeline: Pipeline, begin: Callable[[], Run], show: Any) -> None:
    built = pipeline.build()
    try:
        from codec_agents.runtime.model.preparation import prepare_engines

        await prepare_engines(built, within=PREPARED_WITHIN)
        async with begin() as run:
            await show(run, built)
    finally:
        with anyio.CancelScope(shield=True):
            await pipeline.aclose()


# --- four ways to show a run ---


async def _show_json(run: Run, built: BuiltPipeline) -> None:
    terminal.print_json(result_document(await run.wait(), built.name))


async def _show_events(run: Run, built: BuiltPipeline) -> None:  # noqa: ARG001 - all ways are called alike
    async for event in run:
        terminal.echo_json(event_line(event))


async def _show_quiet(run: Run, built: BuiltPipeline) -> None:
    from codec_agents.events import SinkText

    printer = SinkPrinter([name for name, text in _sinks(built).items() if text])
    try:
        async for event in run:
            if isinstance(event, SinkText):
                printer.write(event.sink, event.text)
    finally:
        printer.finish()
    for note in cut_answers(run.partial_result()):
        terminal.echo(f"warning: {note}", err=True)


class SinkPrinter:
    """Prints the text of one sink as it comes, and that of the others after it, in their declared order."""

    def __init__(self, sinks: Sequence[str]) -> None:
        self._first = sinks[0] if sinks else ""
        self._held: dict[str, list[str]] = {name: [] for name in sinks[1:]}
        self._last = ""

    def write(self, sink: str, text: str) -> None:
        """Print or hold a piece of text."""
        if sink == self._first:
            self._print(text)
        else:
            self._held[sink].append(text)

    def finish(self) -> None:
        """Print what is held; each sink begins on a line of its own."""
        self._end_line()
        for pieces in self._held.values():
            if pieces:
                self._print("".join(pieces))
                self._end_line()

    def _print(self, text: str) -> None:
        terminal.echo_data(text, nl=False)
        self._last = text or self._last

    def _end_line(self) -> None:
        # A run that failed before its first text prints none.
        if self._last and not self._last.endswith("\n"):
            self._print("\n")


async def _show_lanes(run: Run, built: BuiltPipeline) -> None:
    from codec_agents.cli.terminal.tables import show_handoffs, show_totals
    from codec_agents.trace import figures_of, measured

    console = terminal.new_console()
    printer = _lane_printer(built, console)
    try:
        async for event in run:
            printer.show(event)
    finally:
        printer.finish()
        # Also after a failure: what was handed on until then was paid for.
        result = run.partial_result()
        show_handoffs(console, figures_of(measured(each, each.strategy) for each in result.handoffs))
    show_totals(console, result, [name for name, text in _sinks(built).items() if not text])
    for note in cut_answers(result):
        console.print(Text(f"{terminal.glyphs(console).bad} {note}", style="yellow"), soft_wrap=True)


def _lane_printer(built: BuiltPipeline, console: Console) -> LanePrinter:
    from codec_agents.cli.terminal.lanes import LanePrinter
    from codec_agents.plan.variants import map_nodes, prompted_nodes

    vocabularies = {path: node.vocabulary for path, node in prompted_nodes(built).items()}
    return LanePrinter(console, vocabularies, _lanes_of_sinks(built), map_nodes(built))


def _sinks(built: BuiltPipeline) -> dict[str, bool]:
    """Return the sinks; true for those that make text."""
    return {name: sink.text for name, sink in built.sinks.items()}


def _lanes_of_sinks(built: BuiltPipeline) -> dict[LaneKey, str]:
    texts = _sinks(built)
    return {
        (edge.source_node, edge.source_port): edge.target_node
        for edge in built.edges
        if texts.get(edge.target_node)
    }


# --- the trace ---


def _record_beside(trace: Path) -> Path:
    return trace.with_suffix(".record.tmp") if trace.suffix == ".html" else trace


def _finish_trace(trace: Path, record: Path, *, keep: bool, failed: bool) -> None:
    """Write the trace from the record, which also exists when the run failed.

    What ended a failed run, such as a full disk, often prevents its trace as well: the run's error is raised.
    """
    if trace.suffix == ".html":
        from codec_agents.trace import read_runs, write_page

        with contextlib.suppress(*((RecordError, OSError) if failed else ())):
            try:
                write_page(trace, read_runs([record]))
            finally:
                if not keep:
                    record.unlink()
    # Without --record the run was recorded into the trace itself.
    elif not trace.exists() or not trace.samefile(record):
        from codec_agents.records.files import write_whole

        write_whole(trace, record.read_bytes(), private=True)
