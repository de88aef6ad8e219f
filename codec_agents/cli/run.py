"""`codec-agents run`: run a pipeline and show it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.inputs import input_option, inputs_of
from codec_agents.cli.options import as_json, load, pipeline_file, print_json

if TYPE_CHECKING:
    from codec_agents.built import BuiltPipeline
    from codec_agents.cli.lanes import LaneKey, LanePrinter
    from codec_agents.pipeline import Pipeline
    from codec_agents.runtime import Run


PREPARED_WITHIN = 2.0
"""Seconds for starting embedded servers and connecting to others before the run is timed."""


@click.command("run")
@pipeline_file
@input_option
@as_json
@click.option("--events", is_flag=True, help="Print each event as a line of JSON, as it happens.")
@click.option("-q", "--quiet", is_flag=True, help="Print the text of the text sinks and nothing else.")
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Write the run's record.")
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a trace: a page if the name ends in .html, else a record that `trace` reads.",
)
@reporting
def command(
    file: Path,
    pairs: tuple[str, ...],
    as_json: bool,
    events: bool,
    quiet: bool,
    record: Path | None,
    trace: Path | None,
) -> None:
    """Run the pipeline in FILE.

    Shows what the models think, which tools they call and what they answer, as it comes, and then what each
    handoff between them cost.
    """
    if as_json + events + quiet > 1:
        raise click.UsageError("--json, --events and --quiet exclude each other")
    if trace is not None and not trace.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {trace.parent}; make it first", param_hint="--trace")
    pipeline = load(file)
    inputs = inputs_of(pipeline, pairs)
    show = _show_json if as_json else _show_events if events else _show_quiet if quiet else _show_lanes
    written = record or (_record_beside(trace) if trace else None)
    try:
        anyio.run(_run, pipeline, inputs, written, show)
    finally:
        if trace is not None and written is not None and written.exists():
            _finish_trace(trace, written, keep=record is not None)


async def _run(pipeline: Pipeline, inputs: Mapping[str, str], record: Path | None, show: Any) -> None:
    built = pipeline.build()
    try:
        from codec_agents.nodes.ahead import prepare_engines

        await prepare_engines(built, within=PREPARED_WITHIN)
        async with pipeline.run(inputs, record=record) as run:
            await show(run, built)
    finally:
        with anyio.CancelScope(shield=True):
            await pipeline.aclose()


# --- four ways to show a run ---


async def _show_json(run: Run, built: BuiltPipeline) -> None:
    from codec_agents.cli.documents import result_document

    print_json(result_document(await run.wait(), built.name))


async def _show_events(run: Run, built: BuiltPipeline) -> None:  # noqa: ARG001 - all ways are called alike
    from codec_agents.cli.documents import event_line

    async for event in run:
        click.echo(event_line(event))


async def _show_quiet(run: Run, built: BuiltPipeline) -> None:  # noqa: ARG001
    from codec_agents.events import SinkText

    last = ""
    is_terminal = sys.stdout.isatty()
    async for event in run:
        if isinstance(event, SinkText):
            click.echo(terminal.safe(event.text) if is_terminal else event.text, nl=False)
            last = event.text or last
    if not last.endswith("\n"):
        click.echo()


async def _show_lanes(run: Run, built: BuiltPipeline) -> None:
    from codec_agents.cli.tables import show_handoffs, show_totals
    from codec_agents.trace import figures_of, measured

    console = terminal.console()
    printer = _lane_printer(built, console)
    try:
        async for event in run:
            printer.show(event)
    finally:
        printer.finish()
        result = run.partial_result()
        show_handoffs(console, figures_of(measured(each, each.strategy) for each in result.handoffs))
    show_totals(console, result, [name for name, text in _sinks(built).items() if not text])


def _lane_printer(built: BuiltPipeline, console: Any) -> LanePrinter:
    from codec_agents.cli.lanes import LanePrinter
    from codec_agents.views import asking_nodes

    vocabularies = {path: node.vocabulary for path, node in asking_nodes(built).items()}
    return LanePrinter(console, vocabularies, _lanes_of_sinks(built))


def _sinks(built: BuiltPipeline) -> dict[str, bool]:
    """Return the sinks, and whether they make text."""
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


def _finish_trace(trace: Path, record: Path, *, keep: bool) -> None:
    """Make what `--trace` asks for of the record, which is there also when the run failed."""
    if trace.suffix == ".html":
        from codec_agents.trace import read_runs, write_page

        write_page(trace, read_runs([record]))
        if not keep:
            record.unlink()
    elif record != trace:
        trace.write_bytes(record.read_bytes())
