"""Start, watch and answer durable runs, from any process that reaches their folder and DBOS's database."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import msgspec

from codec_agents.exceptions import (
    DurableError,
    DurableIdError,
    DurableNotFoundError,
    InputError,
    PauseError,
)
from codec_agents.pipeline import Pipeline
from codec_agents.records.answers import check_decisions
from codec_agents.records.files import PRIVATE
from codec_agents.scale.durable_rows import Started, damaged, outcome_of, started_of
from codec_agents.scale.runner import error_of

WORKFLOW = "codec-agents-run"

VERSION = "1"
"""Of the workflow: workers take the runs of this version alone. It changes with the order of its steps."""

SQLITE = "dbos.sqlite"
"""The file of DBOS's database in a state folder."""

MAX_ID = 128
"""Bytes of a run's id, which is the name of a file: file systems take 255, with the ending and more."""

ROWS_AT_ONCE = 100
"""Rows of the database that a list of runs holds at a time, by default: each has the inputs and texts of its
run."""

State: TypeAlias = Literal["queued", "running", "waiting", "done", "failed"]


@dataclass(frozen=True, slots=True)
class DurableStatus:
    """Where a run stands.

    Fields:
        run_id: the run.
        state: `queued`, `running`, `waiting` for decisions, `done` or `failed`.
        pipeline: the name of the pipeline.
        calls: the calls that wait, each with `key`, `node`, `name` and `arguments`.
        pause: names the pause at which it waits.
        text: the text of each text sink, of a run that is done.
        error: the `type` and `message` of the error of a run that failed.
        record: the record of the run.
    """

    run_id: str
    state: State
    pipeline: str
    record: Path
    calls: list[dict[str, Any]] = field(default_factory=list)
    pause: str | None = None
    text: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None


class DurableRuns:
    """The durable runs of a state folder."""

    def __init__(
        self, state: str | Path, *, database: str | None = None, rows_at_once: int = ROWS_AT_ONCE
    ) -> None:
        """Connect.

        Args:
            state: the folder of the records, which all workers share.
            database: the URL of DBOS's database; a SQLite file in the state folder if left out.
            rows_at_once: rows of the database that a list of runs holds at a time.

        Raises:
            DurableError: DBOS is not installed, or its database cannot be used.
        """
        self._rows_at_once = rows_at_once
        self._state = Path(state).absolute()
        self._state.mkdir(parents=True, exist_ok=True)
        library, url = dbos(), prepared_database(self._state, database)
        with reaching(url):
            library.DBOS.migrate(url)  # a client of DBOS makes no tables, and there may be no worker yet
            self._client = client_of(library, url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.destroy()

    def start(self, pipeline: Pipeline, inputs: Mapping[str, Any], *, run_id: str | None = None) -> str:
        """Put a run into the queue; return its id. A run of this id that is there already stays as it is.

        Args:
            pipeline: the pipeline; workers have one of its name.
            inputs: the inputs of the run.
            run_id: the run's id; made if left out.

        Raises:
            InputError: The inputs are not those of the pipeline, or the run of this id has others.
            DurableIdError: The id cannot be one.
        """
        run_id = secrets.token_hex(16) if run_id is None else checked_id(run_id)
        values = pipeline.build().checked_inputs(inputs)
        plain = {name: value if isinstance(value, str) else list(value) for name, value in values.items()}
        started = Started(run_id, pipeline.name, plain, None, None)
        # DBOS keeps the first of two workflows of one name, and tells the second caller nothing.
        if self._enqueued(run_id, started) != started:
            raise InputError(
                f"the run {run_id!r} is there with other inputs, or of another pipeline; give another id"
            )
        return run_id

    def status(self, run_id: str) -> DurableStatus:
        """Return where a run stands.

        Raises:
            DurableIdError: The id cannot be one.
            DurableNotFoundError: There is no such run.
        """
        found = self._of_run(checked_id(run_id))
        if run_id not in found:
            raise DurableNotFoundError(f"there is no durable run {run_id!r} in {self._state}")
        return self._status(run_id, found)

    def runs(self, state: State | None = None) -> list[DurableStatus]:
        """Return all runs, or those in a state, in the order in which they were started."""
        return [status for _, status in self._listed(state, 0)]

    def page(self, state: State | None, start: int, limit: int) -> tuple[list[DurableStatus], int | None]:
        """Return some runs, in the order in which they were started.

        Args:
            state: Only runs in this state; all if None.
            start: The place to begin at: 0, or the one that the page before gave.
            limit: The most runs of the page.

        Returns:
            The runs, and the place of the next page; None if this is the last one.
        """
        # One more than the page: that it is there is what tells that the page is not the last one.
        found = list(islice(self._listed(state, start), limit + 1))
        return [status for _, status in found[:limit]], found[limit][0] if len(found) > limit else None

    def _listed(self, state: State | None, start: int) -> Iterator[tuple[int, DurableStatus]]:
        """Yield runs with the places of their first workflows. Rows are only added, so a place stays."""
        most = self._rows_at_once
        for place in count(start, most):
            rows = self._client.list_workflows(name=WORKFLOW, limit=most, offset=place)
            first = {row.workflow_id: number for number, row in enumerate(rows, place)}
            first = {name: number for name, number in first.items() if "/" not in name}
            # Without names, DBOS would list all workflows.
            later = self._workflows(workflow_id_prefix=[f"{name}/" for name in first]) if first else {}
            known = {row.workflow_id: row for row in rows} | later
            for name, number in first.items():
                status = self._status(name, known)
                if state is None or status.state == state:
                    yield number, status
            if len(rows) < most:
                return

    def answer(self, run_id: str, decisions: Mapping[str, bool | str], *, pause: str | None = None) -> None:
        """Decide on the calls for which a run waits; a worker goes on with it.

        Args:
            run_id: the run.
            decisions: by the key of each waiting call: yes, no, or no with words for the model.
            pause: the pause that is meant; left out, the one at which the run waits now.

        Raises:
            DurableIdError: The id cannot be one.
            DurableNotFoundError: There is no such run.
            PauseError: It does not wait, or not there, or for other decisions.
        """
        status = self.status(run_id)
        if status.pause is None or (pause is not None and pause != status.pause):
            raise PauseError(f"the run {run_id} does not wait for this decision; it is {status.state}")
        check_decisions(status.calls, decisions, f"the run {run_id}")
        first = started_of(self._workflows(workflow_ids=[run_id])[run_id])
        answered = Started(run_id, first.pipeline, first.inputs, status.pause, dict(decisions))
        # The workflow has the name of the pause: of two answers given at once, DBOS keeps one.
        if self._enqueued(f"{run_id}/{status.pause}", answered) != answered:
            raise PauseError(f"the pause of the run {run_id} was answered otherwise at the same time")

    def steps(self, run_id: str) -> list[str]:
        """Return the names of the positions that DBOS holds of a run, in order."""
        return [
            step["function_name"]
            for name in self._of_run(run_id)
            for step in self._client.list_workflow_steps(name)
        ]

    def _enqueued(self, workflow: str, given: Started) -> Started:
        """Put a workflow into the queue unless there is one of its name; return the arguments that it has."""
        options = {
            "queue_name": queue_of(given.pipeline),
            "workflow_name": WORKFLOW,
            "workflow_id": workflow,
            "app_version": VERSION,
        }
        self._client.enqueue(options, *msgspec.structs.astuple(given))
        return started_of(self._workflows(workflow_ids=[workflow])[workflow])

    def _of_run(self, run_id: str) -> dict[str, Any]:
        # By two questions: the beginning `ticket-1` is that of `ticket-10` as well.
        first = self._workflows(workflow_ids=[run_id])
        return first | self._workflows(workflow_id_prefix=f"{run_id}/")

    def _workflows(self, **which: Any) -> dict[str, Any]:
        found = self._client.list_workflows(name=WORKFLOW, **which)
        return {each.workflow_id: each for each in found}

    def _status(self, run_id: str, workflows: Mapping[str, Any]) -> DurableStatus:
        made = partial(DurableStatus, run_id, record=record_path(self._state, run_id))
        current, seen = workflows[run_id], {run_id}
        # Damage is the state of its run: an error would hide the other runs of a list.
        try:
            pipeline = started_of(current).pipeline
        except DurableError as error:
            return made(state="failed", pipeline="", error=error_of(error))
        made = partial(made, pipeline=pipeline)
        while True:
            state = _STATES.get(current.status, "failed")
            if state == "failed":
                return made(state=state, error=error_of(current.error or _ended(current)))
            if state != "done":
                return made(state=state)
            try:
                outcome = outcome_of(current)
            except DurableError as error:
                return made(state="failed", error=error_of(error))
            if (waits := outcome.waiting) is None:
                break
            name = f"{run_id}/{waits.pause}"
            if name not in workflows:
                calls = [dict(call) for call in waits.calls]
                return made(state="waiting", calls=calls, pause=waits.pause)
            # A run has each pause once: a row that says otherwise would be followed for ever.
            if name in seen:
                return made(state="failed", error=error_of(damaged(name)))
            current = workflows[name]
            seen.add(name)
        if outcome.error is not None:
            return made(state="failed", error=msgspec.to_builtins(outcome.error))
        return made(state="done", text=outcome.text or {})


_STATES: Mapping[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
}
"""By the status of a workflow; every other one is a failure."""


def _ended(workflow: Any) -> DurableError:
    """Return the error of a workflow that has none: one that was cancelled, or begun too often."""
    return DurableError(f"DBOS ended the workflow {workflow.workflow_id}; its status is {workflow.status}")


def document_of(status: DurableStatus) -> dict[str, Any]:
    """Return where a run stands, as values of JSON."""
    return {
        "run_id": status.run_id,
        "state": status.state,
        "pipeline": status.pipeline,
        "pause": status.pause,
        "calls": status.calls,
        "text": status.text,
        "error": status.error,
        "record": str(status.record),
    }


def checked_id(run_id: str) -> str:
    """Return a run's id.

    Raises:
        DurableIdError: It cannot be the name of a file.
    """
    # No separator, so that the record stays in its folder, and so that `RUN/PAUSE` is the id of no run.
    # Halves of surrogate pairs, which UTF-8 cannot carry, are counted all the same: they are no letters.
    if not 0 < len(run_id.encode("utf-8", "replace")) <= MAX_ID or not all(
        char.isalnum() or char in "-_." for char in run_id
    ):
        raise DurableIdError(
            f"{run_id!r:.200} cannot be the id of a run; use letters, digits, `-`, `_` and `.`, up to "
            f"{MAX_ID} bytes of UTF-8"
        )
    # Neither a hidden file nor the name of a folder.
    if run_id.startswith("."):
        raise DurableIdError(f"{run_id!r} cannot be the id of a run: it begins with a dot")
    return run_id


def record_path(state: Path, run_id: str) -> Path:
    """Return the record of a run."""
    return state / "runs" / f"{run_id}.jsonl"


def queue_of(pipeline: str) -> str:
    """Return the queue of a pipeline's runs: a worker takes the runs of its own pipelines alone."""
    return f"codec-agents:{pipeline}"


def database_url(state: Path) -> str:
    """Return the URL of the SQLite file in a state folder."""
    return f"sqlite:///{state / SQLITE}"


def prepared_database(state: Path, database: str | None) -> str:
    """Return the URL of a database: the one that is given, or a file in the state folder.

    The file is made here, for its owner alone like the records: it holds inputs, decisions and texts, and
    DBOS would make it readable for others. SQLite gives its rights to the files that it makes beside it.
    """
    if database is not None:
        return database
    os.close(os.open(state / SQLITE, os.O_RDWR | os.O_CREAT, PRIVATE))
    return database_url(state)


def outcome_of_error(error: Exception) -> dict[str, Any]:
    """Return the outcome of a run that failed."""
    return {"error": error_of(error)}


def client_of(library: Any, url: str) -> Any:
    """Return a client of DBOS's database."""
    return library.DBOSClient(system_database_url=url, serializer=library.DBOSPortableJSONSerializer())


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what a database says that cannot be used into an error, which does not name the password.

    Raises:
        DurableError: The database cannot be reached, or has no such name or right.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        # The whole message holds the URL, the statement and its values; `orig` is what the database said.
        try:
            place = make_url(url).render_as_string(hide_password=True)
        except SQLAlchemyError:
            place = "the URL that was given, which is none"
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        # Without its cause, which holds the password.
        raise DurableError(f"cannot use DBOS's database at {place}: {reason}") from None


def dbos() -> Any:
    """Return the library.

    Raises:
        DurableError: It is not installed.
    """
    try:
        import dbos as library  # here: it takes a second, and other commands need none of it
    except ImportError as error:
        raise DurableError(
            "durable runs need DBOS; install the extra `durable`: pip install 'codec-agents[durable]'"
        ) from error
    return library
