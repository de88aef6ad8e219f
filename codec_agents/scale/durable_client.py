"""Start, watch and answer durable runs, from any process that reaches their folder and DBOS's database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from codec_agents.exceptions import DurableError, PauseError
from codec_agents.pipeline import Pipeline
from codec_agents.scale.runner import error_of

WORKFLOW = "codec-agents-run"

VERSION = "1"
"""Of the workflow: workers take the runs of this version alone. It changes with the order of its steps."""

SQLITE = "dbos.sqlite"
"""The file of DBOS's database in a state folder."""

MAX_ID = 128
"""Characters of a run's id, which is the name of a file."""

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

    def __init__(self, state: str | Path, *, database: str | None = None) -> None:
        """Connect.

        Args:
            state: the folder of the records, which all workers share.
            database: the URL of DBOS's database; a SQLite file in the state folder if left out.

        Raises:
            DurableError: DBOS is not installed, or its database cannot be used.
        """
        self._state = Path(state).absolute()
        self._state.mkdir(parents=True, exist_ok=True)
        library, url = dbos(), database or database_url(self._state)
        with reaching(url):
            if database is not None or not (self._state / SQLITE).exists():
                library.DBOS.migrate(url)
            self._client = client_of(library, url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            InputError: The inputs are not those of the pipeline.
            DurableError: The id cannot be one.
        """
        run_id = secrets.token_hex(16) if run_id is None else checked_id(run_id)
        values = pipeline.build().checked_inputs(inputs)
        plain = {name: value if isinstance(value, str) else list(value) for name, value in values.items()}
        self._enqueue(run_id, run_id, pipeline.name, plain, None, None)
        return run_id

    def status(self, run_id: str) -> DurableStatus:
        """Return where a run stands.

        Raises:
            DurableError: There is no such run.
        """
        found = self._workflows(checked_id(run_id))
        if run_id not in found:
            raise DurableError(f"there is no durable run {run_id!r} in {self._state}")
        return self._status(run_id, found)

    def runs(self, state: State | None = None) -> list[DurableStatus]:
        """Return all runs, or those in a state, in the order in which they were started."""
        found = self._workflows(None)
        each = (self._status(name, found) for name in found if "/" not in name)
        return [status for status in each if state is None or status.state == state]

    def answer(self, run_id: str, decisions: Mapping[str, bool | str], *, pause: str | None = None) -> None:
        """Decide on the calls for which a run waits; a worker goes on with it.

        Args:
            run_id: the run.
            decisions: by the key of each waiting call: yes, no, or no with words for the model.
            pause: the pause that is meant; left out, the one at which the run waits now.

        Raises:
            DurableError: There is no such run.
            PauseError: It does not wait, or not there, or for other decisions.
        """
        status = self.status(run_id)
        if status.pause is None or (pause is not None and pause != status.pause):
            raise PauseError(f"the run {run_id} does not wait for this decision; it is {status.state}")
        keys = [call["key"] for call in status.calls]
        if sorted(keys) != sorted(decisions):
            raise PauseError(f"the run {run_id} waits for a decision on each of: {', '.join(keys)}")
        first = self._workflows(run_id)[run_id]
        _, name, inputs, _, _ = first.input["args"]
        self._enqueue(f"{run_id}/{status.pause}", run_id, name, inputs, status.pause, dict(decisions))

    def steps(self, run_id: str) -> list[str]:
        """Return the names of the positions that DBOS holds of a run, in order."""
        names = [name for name in self._workflows(run_id) if name == run_id or name.startswith(f"{run_id}/")]
        return [step["function_name"] for name in names for step in self._client.list_workflow_steps(name)]

    def _enqueue(
        self,
        workflow: str,
        run_id: str,
        name: str,
        inputs: Mapping[str, Any],
        pause: str | None,
        decisions: dict[str, bool | str] | None,
    ) -> None:
        options = {
            "queue_name": queue_of(name),
            "workflow_name": WORKFLOW,
            "workflow_id": workflow,
            "app_version": VERSION,
        }
        self._client.enqueue(options, run_id, name, dict(inputs), pause, decisions)

    def _workflows(self, prefix: str | None) -> dict[str, Any]:
        found = self._client.list_workflows(name=WORKFLOW, workflow_id_prefix=prefix)
        return {each.workflow_id: each for each in found}

    def _status(self, run_id: str, workflows: Mapping[str, Any]) -> DurableStatus:
        current = workflows[run_id]
        pipeline = current.input["args"][1]
        record = record_path(self._state, run_id)
        while True:
            made = DurableStatus(run_id, _STATES.get(current.status, "failed"), pipeline, record)
            if made.state == "failed":
                error = {"type": type(current.error).__name__, "message": str(current.error)}
                return DurableStatus(run_id, "failed", pipeline, record, error=error)
            if made.state != "done":
                return made
            outcome = current.output
            if (waits := outcome.get("waiting")) is None:
                break
            following = workflows.get(f"{run_id}/{waits['pause']}")
            if following is None:
                return DurableStatus(
                    run_id, "waiting", pipeline, record, calls=waits["calls"], pause=waits["pause"]
                )
            current = following
        if (error := outcome.get("error")) is not None:
            return DurableStatus(run_id, "failed", pipeline, record, error=error)
        return DurableStatus(run_id, "done", pipeline, record, text=outcome["text"])


_STATES: Mapping[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
}
"""By the status of a workflow; every other one is a failure."""


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
        DurableError: It cannot be the name of a file.
    """
    if not 0 < len(run_id) <= MAX_ID or not all(char.isalnum() or char in "-_." for char in run_id):
        raise DurableError(
            f"{run_id!r} cannot be the id of a run; use up to {MAX_ID} letters, digits, `-`, `_` and `.`"
        )
    if run_id.startswith("."):
        raise DurableError(f"{run_id!r} cannot be the id of a run: it begins with a dot")
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
        try:
            place = make_url(url).render_as_string(hide_password=True)
        except SQLAlchemyError:
            place = "the URL that was given, which is none"
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DurableError(f"cannot use DBOS's database at {place}: {reason}") from None


def dbos() -> Any:
    """Return the library.

    Raises:
        DurableError: It is not installed.
    """
    try:
        import dbos as library
    except ImportError as error:
        raise DurableError(
            "durable runs need DBOS; install the extra `durable`: pip install 'codec-agents[durable]'"
        ) from error
    return library
