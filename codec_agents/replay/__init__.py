"""Replay or recover a recorded run: the record answers in place of engines, tools and functions.

A replay asks no engine: each prompt must equal the recorded one in every token id, and is answered with the
recorded ids in the recorded batches. A recovery asks engines where the record ends: finished turns are taken
from it, a turn that was cut continues from its exact prefix, and the rest is generated as in any run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack

from codec_agents.exceptions import RecordError
from codec_agents.plan.nodes import (
    BuiltFunction,
    BuiltJoin,
    BuiltModel,
    BuiltNode,
    PromptedNode,
    declared_path,
)
from codec_agents.plan.plan import BuiltLoop, BuiltMap, BuiltPipeline
from codec_agents.plan.variants import continued_from, prompted_nodes, with_nodes, without_servers
from codec_agents.records.continuing import ContinuedRecorder
from codec_agents.records.files import is_being_written
from codec_agents.records.header import record_header
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun
from codec_agents.replay.engine import ReplayEngine
from codec_agents.replay.functions import RecordedFunction, RecordedFunctions
from codec_agents.replay.recovery import RecoveringEngine
from codec_agents.replay.stops import RecordedStops
from codec_agents.replay.tools import RecordedTools
from codec_agents.runtime.options import RunOptions, start_run
from codec_agents.runtime.run import Run
from codec_agents.tools.functions import Function

if TYPE_CHECKING:
    from codec_agents.plan.nodes import Value

__all__ = [
    "AnswerSource",
    "RecordedFunctions",
    "RecordedTools",
    "RecoveringEngine",
    "ReplayEngine",
    "recover",
    "replay",
    "run_or_recover",
]

AnswerSource: TypeAlias = Literal["recorded", "run"]
"""The source of the results of tools or functions in a replay: the record, or running them."""


def replay(
    built: BuiltPipeline,
    recorded: RecordedRun | str | Path,
    *,
    tools: AnswerSource = "recorded",
    functions: AnswerSource = "recorded",
    speed: float | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Return a run that is answered by the record alone; `Pipeline.replay` describes it.

    Raises:
        RecordError: the record cannot be read, is written to as well, is of ids of other maps, or lacks
            the results of functions.
    """
    # Unlike `recover`, also of a run that has not ended: no engine is asked, so nothing is generated twice.
    record = _read(built, recorded)
    engine = ReplayEngine(record, digest=built.digest, speed=speed)
    answers = RecordedFunctions(record, run_others=False) if functions == "recorded" else None

    def change(node: BuiltNode) -> BuiltNode:
        if not isinstance(node, PromptedNode):
            return _with_functions(node, record, answers)
        # Without slots, which bound what an engine has to do at once.
        node = _with_shortening(replace(node, engine=engine, engine_slots=None), record, answers)
        return node if tools == "run" else _with_tools(node, record, run_others=False)

    replayed = with_nodes(continued_from(built, record.after), change)
    # Recorded results need no server that could give others.
    if tools != "run":
        replayed = without_servers(replayed)
    # Of another declaration, or without an end, the place where the record stops is a fault of the replay.
    same = record.complete and built.digest == record.header.get("digest")
    return _start(replayed, record, "replays", options, RecordedStops(record) if same else None)


def recover(
    built: BuiltPipeline,
    recorded: RecordedRun | str | Path,
    *,
    functions: AnswerSource = "recorded",
    **options: Unpack[RunOptions],
) -> Run:
    """Return a run that continues where the record ends; `Pipeline.recover` describes it.

    Raises:
        RecordError: The record cannot be read, is being written, or has ids of other maps.
    """
    _refuse_running(recorded)
    record = _read(built, recorded)
    answers = RecordedFunctions(record, run_others=True) if functions == "recorded" else None
    # Without recorded failures, unlike `run_or_recover`: this run has a record of its own, in which a node
    # that failed may succeed.
    return _start(_recovering(built, record, answers), record, "recovers", options)


def run_or_recover(
    built: BuiltPipeline,
    path: str | Path,
    inputs: Mapping[str, Value] | None = None,
    *,
    noted: Callable[[Mapping[str, Any], str], None] | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Return a run that begins or goes on in its record; `Pipeline.run_or_recover` describes it.

    Args:
        built: the plan.
        path: the record.
        inputs: the inputs of the run.
        noted: called with the fields of each line that is written, and the chain up to it.
        **options: see `RunOptions`.

    Raises:
        RecordError: the record cannot be opened, is being written, or is of another run.
    """
    if options.pop("record", None) is not None:
        raise RecordError("the run is written to the record that it goes on in; leave `record` out")
    values = built.checked_inputs(inputs or {})
    header = {**record_header(built), "inputs": values}
    recorder = ContinuedRecorder(path, header, durability=options.get("durability", "os"))
    recorder.noted = noted
    if (record := recorder.record) is None:
        return start_run(built, values, options, recorder=recorder)
    try:
        _refuse_other_run(built, record, values, options)
        answers = RecordedFunctions(record, run_others=True)
        recovered = _recovering(built, record, answers, failed=_handled_failures(built, record))
        options["run_id"] = record.header.get("run_id")
        return start_run(
            recovered,
            values,
            options,
            histories=record.after,
            recorder=recorder,
            decisions=record.decisions,
        )
    except BaseException:  # the file is open and locked, and no run is there that will close it
        recorder.close()
        raise


def _recovering(
    built: BuiltPipeline,
    record: RecordedRun,
    answers: RecordedFunctions | None,
    *,
    failed: Mapping[str, str] | None = None,
) -> BuiltPipeline:
    """Return a plan that repeats a record, and goes on where it ends."""

    def change(node: BuiltNode) -> BuiltNode:
        if not isinstance(node, PromptedNode):
            return _with_functions(node, record, answers)
        node = replace(node, engine=RecoveringEngine(record, node.engine, failed=failed))
        node = _with_shortening(node, record, answers)
        return _with_tools(node, record, run_others=True)

    return with_nodes(continued_from(built, record.after), change)


def _handled_failures(built: BuiltPipeline, record: RecordedRun) -> dict[str, str]:
    """Return the recorded failures after which the run went on.

    They are repeated: a node that is asked again might succeed, and the record would hold two outcomes.
    """
    policies = {path: node.policy for path, node in prompted_nodes(built).items()}
    return {
        node: end["error"]["message"]
        for node, end in record.ends.items()
        if "error" in end
        and (policy := policies.get(declared_path(node))) is not None
        and policy.on_failure != "fail"
    }


OF_SERVERS = ("engine", "sampling", "logprob_mode")
"""Fields of a record's nodes that say how its ids were made, and not what of."""


def _shape(header: Mapping[str, Any]) -> Any:
    """Return what the first line of a record says of its pipeline, without the engines and the sampling.

    A run may go on with other servers of the same models, and draw otherwise from there.
    """
    nodes = {
        path: {name: field for name, field in node.items() if name not in OF_SERVERS}
        for path, node in header.get("nodes", {}).items()
    }
    return nodes, header.get("edges")


def _refuse_other_run(
    built: BuiltPipeline, record: RecordedRun, inputs: Mapping[str, Value], options: RunOptions
) -> None:
    if _shape(record.header) != _shape(record_header(built)):
        raise RecordError(
            f"{record.path} is the record of other nodes, models or edges than those of {built.name!r}; go "
            "on with the pipeline of the record, or name another file"
        )
    _refuse_other_maps(built, record)
    # As JSON has them: ids are a tuple in a run, and a list in its record.
    plain = {name: value if isinstance(value, str) else list(value) for name, value in inputs.items()}
    if plain != record.inputs:
        raise RecordError(f"{record.path} is the record of a run with other inputs; name another file")
    run_id = options.get("run_id")
    if run_id is not None and run_id != record.header.get("run_id"):
        raise RecordError(
            f"{record.path} is the record of the run {record.header.get('run_id')}, and not of {run_id}"
        )


def _with_functions(node: BuiltNode, record: RecordedRun, answers: RecordedFunctions | None) -> BuiltNode:
    """Return a node that takes results of its function, and orders of arrival, from the record.

    Raises:
        RecordError: The node has a function, and the record has no results of functions.
    """
    match node:
        case BuiltFunction() if answers is not None:
            return replace(node, call=_recorded(node, node.call, record, answers))
        case BuiltLoop(until=Function() as until) if answers is not None:
            return replace(node, until=_recorded(node, until, record, answers))
        case BuiltMap(split=Function() as split) if answers is not None:
            split = _recorded(node, split, record, answers)
            return replace(node, split=split, decided=record.decided)
        case BuiltMap():  # its order is recorded also where its function is to run, or where it has none
            return replace(node, decided=record.decided)
        # With a function that runs anew, the recorded order of a join decides nothing: the function does.
        case BuiltJoin(until=None):
            return replace(node, decided=record.decided)
        case BuiltJoin(until=Function() as until) if answers is not None:
            until = _recorded(node, until, record, answers)
            return replace(node, until=until, decided=record.decided)
    return node


def _recorded(
    node: BuiltNode, function: Function, record: RecordedRun, answers: RecordedFunctions
) -> Function:
    if not (record.has_functions or answers.run_others):
        raise RecordError(
            f"the record is of version 1, which has no results of functions, and node {node.path!r} has a "
            "function; replay it with `functions='run'`"
        )
    return RecordedFunction(answers, function)


def _with_shortening(
    node: PromptedNode, record: RecordedRun, answers: RecordedFunctions | None
) -> PromptedNode:
    """Return a node that takes the results of its `on_overflow` function from the record."""
    if node.shortens is None or answers is None:
        return node
    return replace(node, shortens=_recorded(node, node.shortens, record, answers))


def _with_tools(node: PromptedNode, record: RecordedRun, *, run_others: bool) -> PromptedNode:
    if not isinstance(node, BuiltModel):
        return node
    return replace(node, dispatcher=RecordedTools(record, node.path, node.dispatcher, run_others=run_others))


def _start(
    built: BuiltPipeline,
    recorded: RecordedRun,
    origin: str,
    options: RunOptions,
    stops: RecordedStops | None = None,
) -> Run:
    values = built.checked_inputs(recorded.inputs)
    run_id = recorded.header.get("run_id")
    sources = () if recorded.path is None else (recorded.path,)
    return start_run(
        built,
        values,
        options,
        histories=recorded.after,
        origin={origin: run_id},
        sources=sources,
        stops=stops,
    )


def _read(built: BuiltPipeline, recorded: RecordedRun | str | Path) -> RecordedRun:
    record = recorded if isinstance(recorded, RecordedRun) else read_record(recorded)
    _refuse_other_maps(built, record)
    return record


def _refuse_running(recorded: RecordedRun | str | Path) -> None:
    """Refuse the record of a run that has not ended: what it does would be done twice."""
    source = recorded.path if isinstance(recorded, RecordedRun) else recorded
    if source is not None and Path(source).exists() and is_being_written(source):
        raise RecordError(f"the run that {source} records is still under way; recover it when it has ended")


def _refuse_other_maps(built: BuiltPipeline, record: RecordedRun) -> None:
    """Refuse a record of other maps: its ids have other meanings."""
    recorded = record.header.get("maps", {})
    for map_id, digest in record_header(built)["maps"].items():
        # A record may lack the map or its hash; that is unknown, and so not known to be the same.
        found = recorded.get(map_id)
        if found != digest:
            made = f"the map {map_id} of hash {found}" if found else f"no map {map_id} of a known hash"
            raise RecordError(
                f"the record was made with {made}, and the pipeline has the hash {digest}; "
                "use the map of the record"
            )
