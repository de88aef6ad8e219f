"""`codec-agents batch`: run a pipeline once for each row of a file, here or on a Ray cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import DONE, RUN_FAILED, reporting
from codec_agents.cli.options import ExistingPath, as_json, pipeline_file
from codec_agents.runtime.own_loop import run_to_the_end

if TYPE_CHECKING:
    from codec_agents.scale.output import BatchSummary

AT_ONCE = 8
"""The default of --concurrency in this process, as in `Pipeline.batch`."""

AT_ONCE_IN_AN_ACTOR = 16
"""The default of --concurrency with --ray, for each actor."""

FAILURES_SHOWN = 20
"""Failures that are printed as they come; the results hold all of them."""

PROGRESS_EVERY = 1.0
"""Seconds between two lines of progress on a terminal, where one replaces the other."""

PROGRESS_EVERY_IN_A_LOG = 30.0
"""Seconds between two lines of progress in a log."""


@click.command("batch")
@pipeline_file
@click.option(
    "-i",
    "--inputs",
    required=True,
    type=ExistingPath(dir_okay=True),
    help="The rows: a .jsonl, .csv or .parquet file, or a folder of them, such as a saved dataset.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the results and records. One that has results goes on with the missing rows.",
)
@click.option("--key", help="The column that names a row.  [default: a digest of the row]")
@click.option(
    "-c",
    "--column",
    "columns",
    multiple=True,
    metavar="INPUT=COLUMN",
    help="The column of an input, where it is named differently.",
)
@click.option(
    "-e",
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME=URL[,URL...]",
    help="Servers of an engine, among which the rows are divided; serve+http://HEAD:8265/APPLICATION names "
    "those of an application of Ray Serve.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help="Runs at once; with --ray, in each actor.  [default: 8; with --ray: 16]",
)
@click.option(
    "--durability",
    type=click.Choice(["os", "disk"]),
    default="os",
    help="`disk` writes each result and each line of a record through to the disk.  [default: os]",
)
@click.option("--no-records", is_flag=True, help="Write results alone; a run that is cut off begins anew.")
@click.option("--retry-failed", is_flag=True, help="Run the rows again whose result is a failure.")
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(["csv", "parquet", "dataset"]),
    help="Write the results in this form as well, when all rows have one. May be given several times.",
)
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Run on the Ray cluster at ADDRESS, or else on one that is found or started here.",
)
@click.option("--actors", type=click.IntRange(min=1), help="With --ray: actors.  [default: 1]")
@as_json
@reporting
def command(
    file: Path,
    inputs: Path,
    output: Path,
    key: str | None,
    columns: tuple[str, ...],
    engines: tuple[str, ...],
    concurrency: int | None,
    durability: str,
    no_records: bool,
    retry_failed: bool,
    forms: tuple[str, ...],
    address: str | None,
    actors: int | None,
    as_json: bool,
) -> None:
    """Run the pipeline in FILE once for each row of the inputs.

    Each row has a key, and each key gets one line in OUTPUT/results.jsonl: its texts, or its failure. Start
    the same command again after an interruption, a crash or a failure: it goes on with what is missing.

    Ends with 1 if a row of this start failed.
    """
    if actors is not None and address is None:
        raise click.UsageError("--actors needs --ray")
    given: dict[str, Any] = {
        "key": key,
        "columns": dict(_pairs(columns, "--column")),
        "durability": durability,
        "records": not no_records,
        "retry_failed": retry_failed,
        # A program reads the document, which has the counts; the failures are in the results. Many programs
        # read both streams as one, in which lines of progress would be no JSON.
        "progress": None if as_json else _Printer(),
    }
    urls = {name: _urls(value) for name, value in _pairs(engines, "--engine")}
    if forms:  # before the first row: a run of hours would end with what is missing
        from codec_agents.scale.exporting import check_form

        for form in forms:
            check_form(form)
    begin = partial(_here, at_once=concurrency or AT_ONCE)
    if address is not None:
        at_once = concurrency or AT_ONCE_IN_AN_ACTOR
        # `--ray` without an address is "": a cluster that is found, or one that is started here.
        begin = partial(_on_ray, at_once=at_once, address=address or None, actors=actors or 1)
    summary = begin(file, urls, inputs, output, given)
    written = _exported(output, forms)
    document = {**summary_document(summary), "written": [str(path) for path in written]}
    if as_json:
        terminal.print_json(document)
    else:
        _show(summary, written)
    raise SystemExit(RUN_FAILED if summary.failed else DONE)


def _here(
    file: Path,
    urls: Mapping[str, list[str]],
    inputs: Path,
    output: Path,
    given: Mapping[str, Any],
    *,
    at_once: int,
) -> BatchSummary:
    from codec_agents.scale.batch import run_batch
    from codec_agents.scale.replicas import replicas

    pipelines = replicas(file, urls)
    return run_to_the_end(partial(run_batch, pipelines, inputs, output, concurrency=at_once, **given))


def _on_ray(
    file: Path,
    urls: Mapping[str, list[str]],
    inputs: Path,
    output: Path,
    given: Mapping[str, Any],
    *,
    at_once: int,
    address: str | None,
    actors: int,
) -> BatchSummary:
    from codec_agents.scale.ray_data import run_on_ray

    # Ray prints what happens to its processes on the standard output, where the figures belong.
    with redirect_stdout(sys.stderr):
        return run_on_ray(
            file, inputs, output, address=address, engines=urls, actors=actors, concurrency=at_once, **given
        )


def _pairs(given: tuple[str, ...], option: str) -> list[tuple[str, str]]:
    pairs = [tuple(pair.partition("=")[::2]) for pair in given]
    for text, (name, value) in zip(given, pairs, strict=True):
        if not name or not value:
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
    if len({name for name, _ in pairs}) < len(pairs):
        raise click.BadParameter("a name is given twice", param_hint=option)
    return [(name, value) for name, value in pairs]


def _urls(value: str) -> list[str]:
    return [url.strip() for url in value.split(",") if url.strip()]


def _exported(output: Path, forms: tuple[str, ...]) -> list[Path]:
    if not forms:
        return []
    from codec_agents.scale.exporting import export

    return [export(output, form) for form in forms]


def summary_document(summary: BatchSummary) -> dict[str, Any]:
    """Return the figures of a batch."""
    return {
        "output": str(summary.output),
        "rows": summary.rows,
        "done": summary.done,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "seconds": round(summary.seconds, 3),
        "rows_per_second": round(summary.rows_per_second, 3),
    }


class _Printer:
    """Prints progress and failures to standard error."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._on_terminal = sys.stderr.isatty()
        self._every = PROGRESS_EVERY if self._on_terminal else PROGRESS_EVERY_IN_A_LOG
        self._last = clock()

    def __call__(self, summary: BatchSummary, line: Mapping[str, Any]) -> None:
        """Print the failure of a row; print the rows so far when it is time."""
        if (error := line.get("error")) is not None and summary.failed <= FAILURES_SHOWN:
            said = terminal.escape_line(f"{line['key']}: {error['type']}: {error['message']}")
            terminal.echo(f"{self._clear()}failed {said}", err=True)
            if summary.failed == FAILURES_SHOWN:
                terminal.echo("further failures are in the results", err=True)
        if self._clock() - self._last >= self._every:
            self._last = self._clock()
            said = _progress(summary)
            terminal.echo(f"{self._clear()}{said}", nl=not self._on_terminal, err=True)

    def _clear(self) -> str:
        return "\r" if self._on_terminal else ""


def _progress(summary: BatchSummary) -> str:
    skipped = f", {summary.skipped:,} skipped" if summary.skipped else ""
    # The blanks at the end cover what is left of a longer line before.
    return (
        f"{summary.done:,} done, {summary.failed:,} failed{skipped}, {summary.rows_per_second:,.1f} rows/s   "
    )


def _show(summary: BatchSummary, written: list[Path]) -> None:
    if sys.stderr.isatty():
        terminal.echo("\r", nl=False, err=True)
    results = summary.output / "results.jsonl"
    terminal.echo(f"{_progress(summary).strip()}, in {terminal.seconds(summary.seconds)}: {results}")
    for path in written:
        terminal.echo(f"wrote {path}", err=True)
    if summary.failed:
        terminal.echo("run the failed rows again with --retry-failed", err=True)
