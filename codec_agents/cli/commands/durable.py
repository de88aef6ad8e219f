"""`codec-agents durable`: runs that any worker goes on with, and approvals that wait."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.cli import terminal
from codec_agents.cli.approval import decision
from codec_agents.cli.exits import reporting
from codec_agents.cli.inputs import input_option, inputs_of
from codec_agents.cli.options import PIPELINE, as_json, load, pipeline_file
from codec_agents.cli.serving import address_of, bound, require_server, secret

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline
    from codec_agents.scale.durable_client import DurableRuns, DurableStatus

state_folder = click.argument("state", type=click.Path(file_okay=False, path_type=Path))
pipeline_files = click.argument("files", nargs=-1, required=True, type=PIPELINE)
database_option = click.option(
    "--database",
    envvar="DBOS_SYSTEM_DATABASE_URL",
    metavar="URL",
    help="DBOS's database, also by $DBOS_SYSTEM_DATABASE_URL.  [default: a SQLite file in STATE]",
)
STATES = ("queued", "running", "waiting", "done", "failed")


@click.group("durable", short_help="Run pipelines that go on after a crash, in any worker.")
def command() -> None:
    """Run pipelines that go on after a crash, in any worker, from the exact ids.

    STATE is a folder that all workers share. Needs the extra `durable`.
    """


def _runs(state: Path, database: str | None) -> DurableRuns:
    from codec_agents.scale.durable_client import DurableRuns

    return DurableRuns(state, database=database)


@command.command("start", short_help="Put a run of the pipeline in FILE into the queue of STATE.")
@state_folder
@pipeline_file
@input_option
@click.option("--id", "run_id", help="The run's id; a run of this id that is there stays as it is.")
@database_option
@as_json
@reporting
def start(
    state: Path, file: Path, pairs: tuple[str, ...], run_id: str | None, database: str | None, as_json: bool
) -> None:
    """Put a run of the pipeline in FILE into the queue of STATE; print its id."""
    pipeline = load(file)
    inputs = inputs_of(pipeline, pairs)
    with _runs(state, database) as runs:
        started = runs.start(pipeline, inputs, run_id=run_id)
    if as_json:
        terminal.print_json({"run_id": started})
    else:
        terminal.echo(started)


@command.command("work", short_help="Take runs from the queue of STATE, and run them.")
@state_folder
@pipeline_files
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Runs at once, of each pipeline.",
)
@database_option
@reporting
def work(state: Path, files: Sequence[Path], concurrency: int, database: str | None) -> None:
    """Take runs of the pipelines in FILES from the queue of STATE, until interrupted."""
    pipelines = _pipelines(files)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_work(state, pipelines, concurrency, database))


async def _work(state: Path, pipelines: dict[str, Pipeline], concurrency: int, database: str | None) -> None:
    from codec_agents.scale.durable import DurableWorker

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # where the event loop knows no signals
        loop.add_signal_handler(signal.SIGTERM, ended.set)
    async with DurableWorker(state, pipelines, database=database, concurrency=concurrency):
        terminal.echo(f"takes runs of {', '.join(pipelines)} from {state}", err=True)
        await ended.wait()


def _pipelines(files: Sequence[Path]) -> dict[str, Pipeline]:
    loaded = [load(file) for file in files]
    if len({pipeline.name for pipeline in loaded}) < len(loaded):
        raise click.BadParameter("two files declare pipelines of the same name", param_hint="FILES")
    return {pipeline.name: pipeline for pipeline in loaded}


@command.command("list")
@state_folder
@click.option("--state", "only", type=click.Choice(STATES), help="Only runs in this state.")
@database_option
@as_json
@reporting
def list_runs(state: Path, only: Any, database: str | None, as_json: bool) -> None:
    """List the runs of STATE."""
    with _runs(state, database) as runs:
        found = runs.runs(only)
    if as_json:
        terminal.print_json({"runs": [_document(each) for each in found]})
        return
    for each in found:
        waits = ", ".join(call["name"] for call in each.calls)
        terminal.echo(f"{each.run_id}  {each.state:<8} {each.pipeline}  {waits}".rstrip())


@command.command("show", short_help="Show where a run of STATE stands.")
@state_folder
@click.argument("run_id")
@database_option
@as_json
@reporting
def show(state: Path, run_id: str, database: str | None, as_json: bool) -> None:
    """Show where a run of STATE stands: its texts, its error, or the calls that wait."""
    with _runs(state, database) as runs:
        status = runs.status(run_id)
    if as_json:
        terminal.print_json(_document(status))
        return
    terminal.echo(f"{status.run_id}: {status.state}; its record is {status.record}")
    for text in status.text.values():
        terminal.echo(text)
    for line in _waiting(status):
        terminal.echo(line)
    if status.error is not None:
        terminal.echo(terminal.escape_line(f"{status.error['type']}: {status.error['message']}"))


@command.command("answer", short_help="Decide on the calls for which a run of STATE waits.")
@state_folder
@click.argument("run_id")
@click.option(
    "-d",
    "--decision",
    "given",
    multiple=True,
    required=True,
    help="yes, no, or words for the model; once for each call that waits, in the order of `show`.",
)
@database_option
@as_json
@reporting
def answer(state: Path, run_id: str, given: tuple[str, ...], database: str | None, as_json: bool) -> None:
    """Decide on the calls for which a run of STATE waits; a worker goes on with it."""
    with _runs(state, database) as runs:
        status = runs.status(run_id)
        if status.calls and len(given) != len(status.calls):
            waiting = "".join(f"\n  {line}" for line in _waiting(status))
            raise click.UsageError(f"give one --decision for each of these calls, in order:{waiting}")
        # As many as there are calls; where none waits, `answer` says why.
        decisions = {call["key"]: decision(said) for call, said in zip(status.calls, given, strict=False)}
        runs.answer(run_id, decisions, pause=status.pause)
    if as_json:
        terminal.print_json({"run_id": run_id, "decisions": decisions})


@command.command("serve", short_help="Start, show and answer runs of STATE over HTTP.")
@state_folder
@pipeline_files
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8100, show_default=True, type=click.IntRange(0, 65535))
@click.option("--api-key-env", metavar="NAME", help="Ask requests for the key in this environment variable.")
@database_option
@reporting
def serve(
    state: Path, files: Sequence[Path], host: str, port: int, api_key_env: str | None, database: str | None
) -> None:
    """Start, show and answer runs of STATE over HTTP; needs the extra `server` as well.

    POST /runs, GET /runs, GET /runs/ID, POST /runs/ID/decisions. An address that others can reach needs
    --api-key-env.
    """
    from codec_agents.scale.durable_http import DurableApp
    from codec_agents.server import ServerSettings

    settings = ServerSettings(api_keys=() if api_key_env is None else (secret(api_key_env),))
    require_server(host, settings)
    import uvicorn

    with _runs(state, database) as runs:
        app = DurableApp(runs, _pipelines(files), settings)
        sockets = bound(host, port)
        terminal.echo(f"runs of {state} on {address_of(host, sockets)}", err=True)
        # The application answers requests alone; uvicorn would ask it to start, and log that it does not.
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        # uvicorn raises the signal again after it has ended what ran: for a server that is the usual end.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=sockets)


def _document(status: DurableStatus) -> dict[str, Any]:
    from codec_agents.scale.durable_client import document_of

    return document_of(status)


def _waiting(status: DurableStatus) -> list[str]:
    """Return a line for each call that waits; text of a model cannot imitate a line of its own."""
    return [
        terminal.escape_line(f"waits: {call['key']} {call['name']} {call['arguments']}")
        for call in status.calls
    ]
