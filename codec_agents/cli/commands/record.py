"""`codec-agents record`: inspect, replay, recover and compare recorded runs, and export training data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from codec_agents.cli import terminal
from codec_agents.cli.documents import cut_answers, result_document
from codec_agents.cli.exits import DONE, RUN_FAILED, reporting
from codec_agents.cli.options import RECORD, Number, as_json, load
from codec_agents.exceptions import RecordDamagedError
from codec_agents.faults import suggest
from codec_agents.records.exporters import EXPORTERS, jsonl, writer_of
from codec_agents.runtime.own_loop import run_to_the_end
from codec_agents.strict_json import read_json

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline
    from codec_agents.records.recorded import RecordedRun, RecordedTurn
    from codec_agents.records.trajectories import Trajectory
    from codec_agents.runtime.run import Run

NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("record")
def command() -> None:
    """Work with the record that `run --record` writes."""


# --- show ---


@command.command("show", short_help="Show the run in FILE: turns, tools and errors.")
@click.argument("file", type=RECORD)
@as_json
@reporting
def show(file: Path, as_json: bool) -> None:
    """Show the run in FILE: each turn of each node, its tools, and how the nodes ended.

    A damaged record is shown up to the damage; the command then ends with 6.
    """
    from codec_agents.records.reader import read_record

    try:
        record = read_record(file)
    except RecordDamagedError as error:
        if error.record is not None and not as_json:  # what can be read, before the error
            _show(error.record)
        raise
    if as_json:
        terminal.print_json(summary(record))
    else:
        _show(record)


def summary(record: RecordedRun) -> dict[str, Any]:
    """Return the content of a record without its ids."""
    header, ends = record.header, record.ends
    return {
        "run_id": header.get("run_id"),
        "trace_id": header.get("trace_id"),
        "pipeline": header.get("pipeline"),
        "complete": record.complete,
        "inputs": record.inputs,
        "versions": header.get("versions", {}),
        "maps": header.get("maps", {}),
        "nodes": {node: {**record.details(node), **_end_of(ends, node)} for node in record.nodes},
        "turns": [_turn(turn) for turn in record.turns],
        "functions": {node: len(calls) for node, calls in record.functions.items()},
        "decided": record.decided,
        "text": record.texts(),
    }


def _end_of(ends: Mapping[str, dict[str, Any]], node: str) -> dict[str, Any]:
    end = ends.get(node, {})
    return {key: end[key] for key in ("outcome", "reason", "probabilities", "usage", "error") if key in end}


def _turn(turn: RecordedTurn) -> dict[str, Any]:
    return {
        "node": turn.node,
        "turn": turn.number,
        "prompt_ids": turn.prompt_length,
        "kept_ids": turn.kept,
        "generated_ids": len(turn.generated),
        "batches": len(turn.batches),
        "finish_reason": turn.finish_reason,
        "complete": turn.complete,
        "started": turn.started,
        "ended": turn.ended,
        "tools": [{key: tool[key] for key in ("name", "arguments", "status", "told")} for tool in turn.tools],
    }


def _show(record: RecordedRun) -> None:
    console = terminal.new_console()
    state = "complete" if record.complete else "not complete"
    header = record.header
    console.print(Text(f"{header.get('pipeline')} {header.get('run_id')}: {state}", style="bold"))
    for name, value in record.inputs.items():
        said = value if isinstance(value, str) else terminal.plural(len(value), "id")
        _line(f"input {name}: {said}")
    # A node without an end was stopped, since nothing read its output any more, or the run was cut off.
    endless = "stopped" if record.complete else "cut off"
    ends, turns = record.ends, record.by_node()
    for node in turns:
        end = _end_of(ends, node)
        _line(f"{node}: {end.get('outcome', endless)}", style="bold")
        for turn in turns[node]:
            for line in _lines(turn):
                _line(f"  {line}")
        _show_error(end)
    # Nodes without a model are in no turn: functions, joins and maps have their own entries.
    for node in dict.fromkeys((*record.functions, *record.decided)):
        end = _end_of(ends, node)
        _line(f"{node}: {end.get('outcome', endless)}", style="bold")
        if calls := record.functions.get(node):
            _line(f"  {terminal.plural(len(calls), 'call')} of its function")
        if decided := record.decided.get(node):
            _line(f"  came first: {', '.join(map(str, decided))}")
        _show_error(end)


def _show_error(end: dict[str, Any]) -> None:
    if "error" in end:
        _line(f"  {end['error']['type']}: {end['error']['message']}", style="red")


def _lines(turn: RecordedTurn) -> Iterator[str]:
    kept = f" ({turn.kept:,} kept)" if turn.kept else ""
    reason = turn.finish_reason or ("stopped" if turn.complete else "cut off")
    yield (
        f"turn {turn.number}: {turn.prompt_length:,} prompt ids{kept}, {len(turn.generated):,} generated in "
        f"{terminal.plural(len(turn.batches), 'frame')}, {reason}"
    )
    for tool in turn.tools:
        yield f"  {tool['name']}: {tool['status']} in {terminal.seconds(tool['seconds'])}"


def _line(text: str, style: str = "") -> None:
    console = terminal.new_console()
    shown = Text(" ".join(terminal.escape(text).split("\n")), style=style)
    shown.truncate(terminal.width(console), overflow="crop")
    console.print(shown)


# --- replay ---


@command.command("replay")
@click.argument("file", type=RECORD)
@click.argument("pipeline", type=RECORD)
@as_json
@click.option("--tools", type=click.Choice(["recorded", "run"]), default="recorded", show_default=True)
@click.option("--functions", type=click.Choice(["recorded", "run"]), default="recorded", show_default=True)
@click.option("--speed", type=Number(min=0, min_open=True), help="1 for the recorded pace.")
@click.option("--record", "written", type=NEW_FILE, help="Write the record of the replay.")
@reporting
def replay(
    file: Path,
    pipeline: Path,
    as_json: bool,
    tools: Any,
    functions: Any,
    speed: float | None,
    written: Path | None,
) -> None:
    """Run PIPELINE with the record FILE in place of its engines.

    Shows the text of the text sinks. Ends with 6 at the first prompt that differs from the recorded one, and
    names the node, turn and position.
    """
    loaded = load(pipeline)
    options = {"tools": tools, "functions": functions, "speed": speed, "record": written}
    _finish(loaded, lambda: loaded.replay(file, **options), as_json=as_json)


@command.command("recover", short_help="Continue a recorded run where it was interrupted.")
@click.argument("file", type=RECORD)
@click.argument("pipeline", type=RECORD)
@as_json
@click.option("--functions", type=click.Choice(["recorded", "run"]), default="recorded", show_default=True)
@click.option("--record", "written", type=NEW_FILE, help="Write the record of the whole run.")
@click.option("--up-to-damage", is_flag=True, help="Continue a damaged record from its last good line.")
@reporting
def recover(
    file: Path, pipeline: Path, as_json: bool, functions: Any, written: Path | None, up_to_damage: bool
) -> None:
    """Continue the run of PIPELINE that FILE records, where it was cut off.

    Recorded turns are not generated again; a turn that was cut continues from its exact prefix. Shows the
    text of the text sinks.
    """
    from codec_agents.records.reader import read_record

    loaded = load(pipeline)
    try:
        record = read_record(file)
    except RecordDamagedError as error:
        if error.record is None or not up_to_damage:
            raise
        record = error.record
    _finish(loaded, lambda: loaded.recover(record, functions=functions, record=written), as_json=as_json)


def _finish(pipeline: Pipeline, start: Callable[[], Run], *, as_json: bool) -> None:
    """Run to the end, and show the result."""
    result = run_to_the_end(lambda: start().execute())
    if as_json:
        terminal.print_json(result_document(result, pipeline.name))
    else:
        for text in result.text.values():
            terminal.echo(text)
        for note in cut_answers(result):
            terminal.echo(f"warning: {note}", err=True)


# --- compare ---


@command.command("compare")
@click.argument("first", type=RECORD)
@click.argument("second", type=RECORD)
@as_json
@reporting
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Show where two recorded runs differ; ends with 1 if they do."""
    from codec_agents.records.reader import read_record

    found = read_record(first).differences(read_record(second))
    if as_json:
        terminal.print_json({"same": not found, "differences": found})
    else:
        for difference in found or ("the same ids",):
            terminal.echo(difference)
    raise SystemExit(RUN_FAILED if found else DONE)


# --- annotate ---


@command.command("annotate", short_help="Append rewards and notes to the record FILE.")
@click.argument("file", type=RECORD)
@click.option(
    "--reward",
    "rewards",
    multiple=True,
    help="A number for the run, or NODE=NUMBER; may be repeated.",
)
@click.option("--set", "fields", multiple=True, metavar="NAME=VALUE", help="A note; VALUE is JSON or a text.")
@reporting
def annotate(file: Path, rewards: tuple[str, ...], fields: tuple[str, ...]) -> None:
    """Append rewards and notes to the record FILE; what was recorded stays as it is."""
    from codec_agents.records.appending import annotate as append

    if not rewards and not fields:
        raise click.UsageError("give --reward or --set")
    known = _known_nodes([file])
    notes: list[dict[str, Any]] = [{name: value} for name, value in map(_field, fields)]
    for reward in rewards:
        node, _, number = reward.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise click.BadParameter(f"{number!r} is no number", param_hint="--reward")
        if node:
            _require_node(node, known, "--reward")
        notes.append({"reward": {node: value} if node else value})
    # All are checked by now: a mistake in the last option leaves the record as it was.
    for note in notes:
        append(file, note)
    terminal.echo(f"added {terminal.plural(len(notes), 'note')} to {file}", err=True)


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name or name == "reward":
        raise click.BadParameter(f"{text!r} is not NAME=VALUE; rewards have --reward", param_hint="--set")
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python hands over the bytes of an argument that is not UTF-8 as halves of surrogate pairs.
        raise click.BadParameter(
            f"{text!r} is not UTF-8 text; use a UTF-8 terminal", param_hint="--set"
        ) from None
    try:
        return name, read_json(value)
    except ValueError:
        return name, value


# --- export ---


@command.command("export", short_help="Write training trajectories.")
@click.argument("files", nargs=-1, required=True, type=RECORD)
@click.option("-o", "--output", type=NEW_FILE, help="Where to; standard output if left out.")
@click.option(
    "--format", "form", type=click.Choice(tuple(EXPORTERS)), default="jsonl", show_default=True,
    help="The form: plain, or that of a trainer.",
)  # fmt: skip
@click.option("--node", "nodes", multiple=True, help="Only this node; may be given several times.")
@click.option("--complete", is_flag=True, help="Leave out rows with a turn that was cut off.")
@click.option(
    "--any-mode", is_flag=True, help="Take log probabilities that are not of the distribution drawn from."
)
@reporting
def export(
    files: Sequence[Path],
    output: Path | None,
    form: str,
    nodes: tuple[str, ...],
    complete: bool,
    any_mode: bool,
) -> None:
    """Write training trajectories: a row a node, and more where a prompt did not continue the turn before."""
    rows = _rows(files, nodes, complete=complete)
    if form == "jsonl" and output is None:
        for row in rows:
            terminal.echo_json(json.dumps(jsonl.document(row), ensure_ascii=False, separators=(",", ":")))
        return
    if output is None:
        raise click.UsageError(f"the form {form} is written to a file; give --output")
    if output.exists() and any(output.samefile(file) for file in files):
        raise click.UsageError(f"{output} is one of the records that are read; name another --output")
    # Before the file is opened: a damaged record leaves an older file as it is.
    rows = list(rows)
    try:
        writer_of(form, any_mode=any_mode)(rows, output)
    # A trainer's format may need a package of its own.
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    terminal.echo(f"wrote {terminal.plural(len(rows), 'row')} to {output}", err=True)


def _rows(files: Sequence[Path], nodes: tuple[str, ...], *, complete: bool) -> Iterable[Trajectory]:
    from codec_agents.records.reader import read_record
    from codec_agents.records.trajectories import trajectories_of

    if nodes:  # for them alone are all records read twice
        known = _known_nodes(files)
        for node in nodes:
            _require_node(node, known, "--node")
    for file in files:
        for row in trajectories_of(read_record(file), nodes):
            if row.complete or not complete:
                yield row


def _known_nodes(files: Sequence[Path]) -> set[str]:
    """Return the nodes of all records, by their own and their declared paths."""
    from codec_agents.plan.nodes import declared_path
    from codec_agents.records.reader import read_record

    return {
        name for file in files for node in read_record(file).nodes for name in (node, declared_path(node))
    }


def _require_node(node: str, known: set[str], option: str) -> None:
    if node not in known:
        raise click.BadParameter(
            f"no record has a node {node!r} that asked a model; {suggest(node, known, 'nodes')}",
            param_hint=option,
        )
