"""Durable runs on DBOS: any worker of a queue goes on with a run whose process died.

Rules that hold in this file:

- The record of a run is the truth about its ids, results and decisions. DBOS keeps the position: one step
  for each turn and each finished call, in the order of the record, with the chain of the record up to it. A
  record that lacks what a step saw is refused.
- A run that waits for a decision holds no worker: its workflow ends, and the decision starts the next one.
  The workflows of a run are named `RUN`, `RUN/PAUSE`, ... where PAUSE is the pause that was answered; so a
  pause has one answer, however many clients give one.
- A worker holds a lock on a file of its own. The others take the runs of one whose lock is free.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

from codec_agents.exceptions import (
    ApprovalRequiredError,
    DurableError,
    PauseError,
    RecordBusyError,
    RecordError,
)
from codec_agents.pipeline import Pipeline
from codec_agents.records.answers import answer
from codec_agents.records.files import is_being_written, open_locked
from codec_agents.records.positions import Position, position_of, positions_of
from codec_agents.records.reader import read_record
from codec_agents.replay import run_or_recover
from codec_agents.runtime.options import DEFAULT_CONCURRENCY
from codec_agents.scale.durable_client import (
    VERSION,
    WORKFLOW,
    checked_id,
    client_of,
    dbos,
    outcome_of_error,
    prepared_database,
    queue_of,
    reaching,
    record_path,
)

_log = logging.getLogger("codec_agents")

LOOK_EVERY = 2.0
"""Seconds between two looks for workers that died, for which their runs wait. A look only tries locks."""

POLL_EVERY = 0.2
"""Seconds between two looks into the queue, for which a new run waits; each is a query of the database."""


class DurableWorker:
    """Takes runs from the queue of a state folder; there may be any number of workers.

    A process has one: DBOS keeps its state for the whole process.
    """

    def __init__(
        self,
        state: str | Path,
        pipelines: Mapping[str, Pipeline],
        *,
        database: str | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        deps: object = None,
    ) -> None:
        """Prepare a worker; entering it starts to take runs.

        Args:
            state: the folder of the records, which all workers share.
            pipelines: by name: the pipelines whose runs it takes.
            database: the URL of DBOS's database; a SQLite file in the state folder if left out.
            concurrency: runs at once of each pipeline.
            deps: handed to tools by their context argument.

        Raises:
            DurableError: DBOS is not installed.
        """
        self._state = Path(state).absolute()
        self._pipelines = dict(pipelines)
        self._deps = deps
        # For people the machine and the process; the rest because numbers of processes are used again.
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._concurrency = concurrency
        self._stack = AsyncExitStack()
        self._lock = -1
        # Imported here and not on entering, so that a missing library is an error before anything starts.
        self._library = dbos()
        self._database = database
        self._looking: asyncio.Task[None] | None = None
        self._client: Any = None

    @property
    def _locks(self) -> Path:
        return self._state / "workers"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()  # which Python does not call here: the lock would stay held
            raise
        return self

    async def _start(self) -> None:
        for folder in (self._locks, self._state / "runs"):
            folder.mkdir(parents=True, exist_ok=True)
        # Before the first run is taken: the others take over the runs of a worker without a lock.
        self._lock = await asyncio.to_thread(self._locked)
        for pipeline in self._pipelines.values():
            await self._stack.enter_async_context(pipeline.opened())
        library, database = self._library, prepared_database(self._state, self._database)
        library.DBOS(
            config={
                "name": "codec-agents",  # DBOS asks for one
                "system_database_url": database,
                "application_version": VERSION,
                "executor_id": self._name,  # by which the others find its runs when its lock is free
                "log_level": "ERROR",  # by default DBOS tells each of its starts on the terminal
                "serializer": library.DBOSPortableJSONSerializer(),  # JSON: the default is pickle
            }
        )
        # DBOS takes workflows and queues to listen to before it is launched, and the limits of queues after.
        library.DBOS.workflow(name=WORKFLOW)(self._workflow_function())
        queues = [queue_of(name) for name in self._pipelines]
        library.DBOS.listen_queues(queues)
        with reaching(database):
            library.DBOS.launch()
            self._client = client_of(library, database)
        for queue in queues:
            await library.DBOS.register_queue_async(
                queue, worker_concurrency=self._concurrency, polling_interval_sec=POLL_EVERY
            )
        self._looking = asyncio.create_task(self._look_for_dead_workers())

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        # In this order: no run is at work when the engines close, and the lock is free when nothing is left.
        # With the registry: the next worker of this process registers a function of its own for the workflow.
        self._library.DBOS.destroy(destroy_registry=True)
        if self._client is not None:
            self._client.destroy()
        await self._stack.aclose()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _locked(self) -> int:
        """Lock a file of this worker's own.

        It gets its name when it is locked: a file whose lock is free is that of a dead worker.
        """
        hidden = self._locks / f".{self._name}"
        descriptor = open_locked(hidden)
        hidden.rename(self._locks / self._name)
        return descriptor

    def _workflow_function(self) -> Any:
        async def codec_agents_run(
            run_id: str,
            pipeline: str,
            inputs: dict[str, Any],
            pause: str | None,
            decisions: dict[str, bool | str] | None,
        ) -> dict[str, Any]:
            return await self._run(run_id, pipeline, inputs, pause, decisions or {})

        return codec_agents_run

    async def _run(
        self,
        run_id: str,
        name: str,
        inputs: dict[str, Any],
        pause: str | None,
        decisions: dict[str, bool | str],
    ) -> dict[str, Any]:
        """Go on with a run until it ends or waits for a decision; note each position as a step.

        Raises:
            DurableError: The row in the database names no run or no pipeline of this worker, or the record is
                not the one that the steps saw.
        """
        # Checked again, because a row that others wrote may name any file.
        path = record_path(self._state, checked_id(run_id))
        if (pipeline := self._pipelines.get(name)) is None:
            raise DurableError(
                f"the run {run_id} is of the pipeline {name!r}, which this worker does not have"
            )
        # First the answer: positions after a pause are looked for behind the pause, as is the run's end.
        if pause is not None:
            await asyncio.to_thread(_answer_once, path, pause, decisions)
        recorded = await asyncio.to_thread(_recorded, path, pause)
        await asyncio.to_thread(self._check_steps, run_id, pause, recorded)
        # Each time from the first one: DBOS knows a step by its number within the workflow.
        for position in recorded:
            await self._note(run_id, position)
        return await self._go_on(run_id, pipeline, inputs, path)

    async def _go_on(
        self, run_id: str, pipeline: Pipeline, inputs: dict[str, Any], path: Path
    ) -> dict[str, Any]:
        # By a queue: the recorder of the run is not async, and steps are those of the workflow's task.
        positions: asyncio.Queue[Position | None] = asyncio.Queue()

        def noted(line: Mapping[str, Any], chain: str) -> None:
            if (position := position_of(line, chain)) is not None:
                positions.put_nowait(position)

        async def execute() -> dict[str, Any]:
            try:
                run = run_or_recover(
                    pipeline.build(),
                    path,
                    inputs,
                    noted=noted,
                    run_id=run_id,
                    durability="disk",  # a step must not outlive the line that it saw: see `_check_steps`
                    deps=self._deps,
                )
                result = await run.execute()
            except ApprovalRequiredError:
                return await asyncio.to_thread(_waiting, path)
            except Exception as error:  # a result, because DBOS would lose the node and the cause of an error
                return outcome_of_error(error)
            finally:
                positions.put_nowait(None)  # the end, however it came: the workflow waits for it
            return {"text": result.text, "seconds": result.seconds, "finish_reasons": result.finish_reasons}

        running = asyncio.create_task(execute())
        try:
            while (position := await positions.get()) is not None:
                if position.kind != "suspended":  # the pause is the end of the workflow, and its result
                    await self._note(run_id, position)
            return await running
        finally:
            # Where the workflow was cancelled or a step refused: no run goes on without its workflow.
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    def _check_steps(self, run_id: str, pause: str | None, recorded: list[Position]) -> None:
        """Check that the record has each step that is noted, before a call whose line was lost runs again.

        Raises:
            DurableError: It has fewer.
        """
        # By a client: what a workflow itself asks of DBOS becomes a step of it.
        steps = self._client.list_workflow_steps(run_id if pause is None else f"{run_id}/{pause}")
        if len([step for step in steps if not step["function_name"].startswith("DBOS.")]) > len(recorded):
            raise _other_record(run_id)

    async def _note(self, run_id: str, position: Position) -> None:
        """Keep a position as a step of the workflow.

        Raises:
            DurableError: The step is there, and saw another record.
        """

        async def at() -> str:
            return position.chain

        # A step that DBOS has is not called again: its result is the chain that an earlier process saw.
        chain = await self._library.DBOS.run_step_async({"name": position.name}, at)
        if chain != position.chain:
            raise _other_record(run_id)

    async def _look_for_dead_workers(self) -> None:
        while True:
            try:
                for name in await asyncio.to_thread(self._dead_workers):
                    await self._take_over(name)
            except Exception:  # of the disk or the database, which may be back: this worker has to look on
                _log.warning("the runs of dead workers could not be taken over; trying again", exc_info=True)
            await asyncio.sleep(LOOK_EVERY)

    def _dead_workers(self) -> list[str]:
        found = []
        for lock in sorted(self._locks.iterdir()):
            with suppress(OSError):  # another worker has just removed it
                if not lock.name.startswith(".") and lock.name != self._name and not is_being_written(lock):
                    found.append(lock.name)
        return found

    async def _take_over(self, worker: str) -> None:
        """Put the runs of a dead worker back into the queue, unless another worker does.

        Its lock is held meanwhile: a second worker would put runs back that a third one has already taken.
        """
        try:
            held = await asyncio.to_thread(open_locked, self._locks / worker)
        except RecordBusyError:
            return
        try:
            library = self._library.DBOS
            # Those that it had begun: what waits in the queue any worker takes.
            left = await library.list_workflows_async(
                executor_id=worker, status="PENDING", load_input=False, load_output=False
            )
            for queue in {each.queue_name for each in left}:  # DBOS would put them into a queue of its own
                names = [each.workflow_id for each in left if each.queue_name == queue]
                await library.resume_workflows_async(names, queue_name=queue)
            await asyncio.to_thread((self._locks / worker).unlink, missing_ok=True)
        finally:
            os.close(held)


def _other_record(run_id: str) -> DurableError:
    return DurableError(
        f"the record of the run {run_id} is not the one that its steps saw: lines of it were lost or "
        "changed; restore the file, or start another run"
    )


def _recorded(path: Path, pause: str | None) -> list[Position]:
    """Return the turns and calls of one workflow that the record holds.

    Args:
        path: The record.
        pause: The pause whose answer began the workflow; None for the first one of a run.

    Raises:
        PauseError: The record does not hold the pause.
    """
    positions = positions_of(path)
    pauses = [number for number, each in enumerate(positions) if each.kind == "suspended"]
    # Steps are of one workflow each: from the pause that its answer began behind, to the next one.
    began = -1 if pause is None else next((n for n in pauses if positions[n].pause == pause), None)
    if began is None:
        raise PauseError(f"the run that {path} records never waited at the pause {pause}")
    ended = next((number for number in pauses if number > began), len(positions))
    return positions[began + 1 : ended]


def _answer_once(path: Path, pause: str, decisions: dict[str, bool | str]) -> None:
    """Write the decisions on a pause into the record, unless an earlier process of this workflow did.

    Raises:
        PauseError: The run waits at another pause.
    """
    record = read_record(path)
    # A process of this workflow may have died after it wrote them: they are in the record once.
    if any(line["kind"] == "answered" and line["pause"] == pause for line in record.lines):
        return
    if record.waiting is None or record.waiting["pause"] != pause:
        raise PauseError(f"the run that {path} records does not wait at the pause {pause}")
    answer(path, decisions)


def _waiting(path: Path) -> dict[str, Any]:
    """Return the outcome of a workflow whose run waits: the pause, and the calls that wait."""
    waits = read_record(path).waiting
    if waits is None:
        raise RecordError(f"{path} does not say for what its run waits")
    return {"waiting": {"pause": waits["pause"], "calls": waits["calls"]}}
