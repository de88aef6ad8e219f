"""`codec-agents runs`: list, search and open the recorded runs of a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import ExistingPath, Number, as_json
from codec_agents.records.store import RunFilter, RunState, RunStore

if TYPE_CHECKING:
    from codec_agents.records.store import IndexedRun

EXCERPT = 60
"""Characters around a hit of a search."""

folder_argument = click.argument("folder", type=ExistingPath(dir_okay=True, file_okay=False))

FILTERS = (
    click.option("--pipeline", help="Only runs of this pipeline."),
    click.option("--state", type=click.Choice(get_args(RunState)), help="Only runs in this state."),
    click.option("--node", help="Only runs in which this node ran."),
    click.option("--failure", metavar="WORDS", help="Only runs with an error that holds these words."),
    click.option("--tool", help="Only runs that called this tool."),
    click.option("--tool-status", metavar="STATUS", help="With --tool: how a call of it ended."),
    click.option("--slower-than", type=Number(min=0), metavar="SECONDS", help="Only slower runs."),
    click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Runs shown."),
)


def with_filters(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose runs; the command gets a `RunFilter`."""

    # `wraps` also hands on the options below this decorator, which click keeps on the function.
    @wraps(function)
    def run(
        *,
        pipeline: str | None,
        state: Any,
        node: str | None,
        failure: str | None,
        tool: str | None,
        tool_status: str | None,
        slower_than: float | None,
        **others: Any,
    ) -> None:
        if tool_status is not None and tool is None:
            raise click.UsageError("--tool-status needs --tool")
        wanted = RunFilter(
            pipeline=pipeline,
            state=state,
            node=node,
            failure=failure,
            tool=tool,
            tool_status=tool_status,
            slower_than=slower_than,
            text=others.get("words"),  # of `search` alone
        )
        function(wanted=wanted, **others)

    for option in reversed(FILTERS):
        run = option(run)
    return run


@click.group("runs", short_help="Ask a folder of records for its runs.")
def command() -> None:
    """Ask a folder of records, as `run --record` and `batch` write them.

    An index lies beside the files (.runs.sqlite). It is made from them, and may be deleted at any time.
    """


@command.command("list", short_help="List the runs recorded in FOLDER, the last changed first.")
@folder_argument
@with_filters
@as_json
@reporting
def list_runs(folder: Path, wanted: RunFilter, limit: int, as_json: bool) -> None:
    """List the runs recorded in FOLDER, the record that changed last first."""
    _show(folder, wanted, limit, as_json=as_json)


@command.command("search", short_help="List the runs of FOLDER that hold a text.")
@folder_argument
@click.argument("words")
@with_filters
@as_json
@reporting
def search(folder: Path, words: str, wanted: RunFilter, limit: int, as_json: bool) -> None:
    """List the runs of FOLDER whose inputs, texts, tool calls or errors hold WORDS."""
    _show(folder, wanted, limit, as_json=as_json, words=words)


@command.command("show", short_help="Show a run of FOLDER, by its id or its path.")
@folder_argument
@click.argument("run")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write its page for the browser."
)
@as_json
@reporting
def show(folder: Path, run: str, html: Path | None, as_json: bool) -> None:
    """Show a run of FOLDER, by its id, the beginning of its id, or the path of its record.

    Prints what `record show` prints, or writes the page of `trace`. A damaged record is shown up to the
    damage; the command then ends with 6.
    """
    from codec_agents.cli.commands.record import show as show_record

    if as_json and html is not None:
        raise click.UsageError("--json and --html exclude each other")
    with RunStore(folder) as store:
        _refresh(store)
        path = store.find(run)
    if html is not None:
        from codec_agents.trace import read_up_to_damage, write_page

        runs, damage = read_up_to_damage([path])
        write_page(html, runs)
        terminal.echo(f"wrote {html}", err=True)
        if damage is not None:
            raise damage
        return
    # For the type checker: click knows commands without a function.
    assert show_record.callback is not None
    show_record.callback(file=path, as_json=as_json)


def _show(folder: Path, wanted: RunFilter, limit: int, *, as_json: bool, words: str = "") -> None:
    with RunStore(folder) as store:
        _refresh(store)
        found = store.runs(wanted, limit=limit)
    if as_json:
        terminal.print_json({"runs": [_document(run) for run in found]})
        return
    for run in found:
        terminal.echo(terminal.escape_line(_line(run, words)))
    if len(found) == limit:
        terminal.echo(f"the first {limit}; show more with --limit", err=True)


def _refresh(store: RunStore) -> None:
    store.refresh(lambda read: terminal.echo(f"{read:,} records read", err=True))


def _document(run: IndexedRun) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if name != "text"}


def _line(run: IndexedRun, words: str) -> str:
    shown = f"{run.run_id}  {run.state:<8} {run.seconds:8.2f} s {run.ids:>7} ids  {run.pipeline}  {run.path}"
    if words:
        at = run.text.casefold().find(words.casefold())  # as the store finds it
        start = max(0, at - EXCERPT // 2)
        shown += f"  …{' '.join(run.text[start : start + EXCERPT + len(words)].split())}…"
    elif run.error is not None:
        shown += f"  {run.error}"
    return shown
