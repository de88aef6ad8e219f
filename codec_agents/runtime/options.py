"""The options that every way of running a pipeline takes, as one value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from codec_agents.exceptions import InputError, RecordError
from codec_core.exceptions import UnencodableTextError
from codec_core.tokenizer import check_text

if TYPE_CHECKING:
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.prompts import History
    from codec_agents.records.writer import Durability, Recorder
    from codec_agents.runtime.control import Stops
    from codec_agents.runtime.pause import Decision, Resumption
    from codec_agents.runtime.run import Run
    from codec_agents.tools.calls import Approver

DEFAULT_CONCURRENCY = 8
"""Runs of a batch at once: enough to keep an engine's batch busy, few enough for one connection pool."""


class RunOptions(TypedDict, total=False):
    """Options of a run; each may be left out.

    Fields:
        record: a file to which the run is written while it goes.
        durability: where each line of the record is before the run continues: with the operating system
            (`os`), or on the disk (`disk`), which survives a power cut and costs a flush per line.
        deps: handed to tools by their context argument.
        run_id: the run's name in traces and records; generated when left out. A resumed run keeps its own.
        approve: decides whether a tool with `approval=True` may run: yes, no, or no with words for the model.
            Without it, such a call suspends the run with an `ApprovalRequiredError`, whose `pause` another
            process can resume.
    """

    record: str | os.PathLike[str] | None
    durability: Durability
    deps: object
    run_id: str | None
    approve: Approver | None


def start_run(
    plan: BuiltPipeline,
    inputs: Mapping[str, Value],
    options: RunOptions,
    *,
    histories: Mapping[str, History] | None = None,
    origin: Mapping[str, str | None] | None = None,
    resumed: Resumption | None = None,
    sources: Iterable[str | Path] = (),
    recorder: Recorder | None = None,
    decisions: Mapping[str, Decision] | None = None,
    stops: Stops | None = None,
) -> Run:
    """Return a run of a plan with the options of its caller.

    Args:
        plan: what runs.
        inputs: a value for each input, checked.
        options: the caller's options.
        histories: the conversations that the run continues, by node; the record keeps them.
        origin: which recorded run this one replays or recovers; the record says so.
        resumed: the suspended run that is continued.
        sources: records that the run reads, none of which it may write.
        recorder: writes the run, in place of one for the option `record`.
        decisions: the decisions on calls of a run that goes on in its record.
        stops: where nodes end because the recorded run was stopped.

    Raises:
        InputError: `run_id` is no text, or text that is no Unicode text; `record` is no path, or `approve` no
            function.
        PauseError: the suspended run was resumed already.
        TypeError: an option is unknown.
        RecordError: the record cannot be written there, or `durability` is given without one.
    """
    check_options(options)
    run_id = options.get("run_id")
    from codec_agents.runtime.run import Run  # loads the executor, which reading options does not need

    header = {**(origin or {}), "inputs": inputs, **({"after": dict(histories)} if histories else {})}
    recorder = recorder or _recorder(plan, options, header, sources)
    if resumed is not None:
        try:
            resumed.claim()  # last: what fails before it leaves the pause open for a second attempt
        except BaseException:
            if recorder is not None:
                recorder.close()
            raise
    return Run(
        plan,
        inputs,
        run_id=resumed.pause.run_id if resumed else run_id,
        recorder=recorder,
        deps=options.get("deps"),
        approve=options.get("approve"),
        resumed=resumed,
        decisions=decisions,
        stops=stops,
    )


def check_options(options: RunOptions) -> None:
    """Check what can be known of options before a run is made.

    Raises:
        InputError: `run_id` is no text, or text that is no Unicode text; `record` is no path, or `approve` no
            function.
        TypeError: an option is unknown.
    """
    if not options:
        return
    if unknown := sorted(options.keys() - RunOptions.__annotations__.keys()):
        known = ", ".join(RunOptions.__annotations__)
        raise TypeError(f"unknown run option {unknown[0]!r}; the options are {known}")
    if (run_id := options.get("run_id")) is not None:
        _check_run_id(run_id)
    approve, record = options.get("approve"), options.get("record")
    if approve is not None and not callable(approve):
        raise InputError(f"`approve` is a function of the call and its context, not {type(approve).__name__}")
    if record is not None and not isinstance(record, str | os.PathLike):
        raise InputError(f"`record` is the path of a file, not {type(record).__name__}")


def check_options_of_many(options: RunOptions) -> None:
    """Check the options of a batch once: a mistake in them is one error, and not the result of each run.

    Raises:
        RecordError: `durability` is none, or is given without a record.
        InputError, TypeError: as by `check_options`.
    """
    check_options(options)
    if (durability := options.get("durability")) is not None:
        from codec_agents.records.writer import checked_durability

        checked_durability(durability)
        _check_recorded(options)


def _check_recorded(options: RunOptions) -> None:
    if options.get("record") is None and options.get("durability", "os") != "os":
        raise RecordError("`durability` is about the record, and this run has none; give `record`, too")


def _check_run_id(run_id: object) -> None:
    """Refuse what traces, records and requests could not hold as a name."""
    try:
        if not isinstance(run_id, str):
            raise InputError(f"`run_id` is a text, not {type(run_id).__name__}")
        check_text(run_id)
    except UnencodableTextError as error:
        raise InputError(f"`run_id`: {error}") from None


def _recorder(
    plan: BuiltPipeline, options: RunOptions, header: Mapping[str, Any], sources: Iterable[str | Path]
) -> Recorder | None:
    _check_recorded(options)
    if (record := options.get("record")) is None:
        return None
    from codec_agents.records.header import record_header
    from codec_agents.records.writer import Recorder

    fields = {**record_header(plan), **header}
    return Recorder(Path(record), fields, durability=options.get("durability", "os"), sources=sources)
