"""Runs for trainers: a pipeline on the trainer's own model, and the rows of one node of it."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.exceptions import InputError, RecordError
from codec_agents.plan.nodes import declared_path
from codec_agents.plan.variants import prompted_nodes
from codec_agents.records.reader import read_record
from codec_agents.records.trajectories import Trajectory, trajectories_of

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline
    from codec_agents.runtime.result import RunResult
    from codec_agents.runtime.run import Run

ROLLOUTS_AT_ONCE = 16
"""Runs at once, as in an actor of a batch: enough to keep the batch of an engine busy."""

Reward = Callable[["RunResult"], "float | Mapping[str, float] | None"]
"""Grades a finished run: a reward of the run, or rewards by node."""


class ForkedRolloutError(RecordError):
    """A rollout became several rows, and the trainer takes one."""

    def __init__(self, node: str, rows: Sequence[Trajectory]) -> None:
        paths = sorted({row.node for row in rows})
        if len(paths) > 1:  # a declared path names all items of a map and all rounds of a loop
            message = f"name one of them: {', '.join(paths)}"
        else:
            message = (
                "a prompt did not continue the turn before it, or a turn was sampled otherwise; keep "
                "reasoning in the history, or train on one turn of the node"
            )
        super().__init__(f"the turns of node {node!r} are {len(rows)} rows: {message}")


class MissingRolloutError(RecordError):
    """The node made no turn in a run, so there is no row for the trainer."""

    def __init__(self, node: str) -> None:
        super().__init__(
            f"node {node!r} made no turn in this run: a branch without it was taken; train on inputs for "
            "which it runs"
        )


@contextmanager
def _place(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="codec-rollouts-") as made:
        yield Path(made)


async def run_rollout(
    pipeline: Pipeline,
    inputs: Mapping[str, Any],
    node: str,
    *,
    reward: Reward | None = None,
    folder: str | Path | None = None,
) -> Trajectory:
    """Run a pipeline once; return the row of a node.

    Args:
        pipeline: the pipeline; its node has `sampling.logprobs`.
        inputs: its inputs.
        node: the path of the model node that is trained.
        reward: grades the result.
        folder: where the record is kept, under the name of the run; it is deleted when left out.

    Raises:
        InputError: the pipeline has no such node that asks a model; nothing was run.
        RunError: the run failed.
        ForkedRolloutError: the node's turns are several rows.
        MissingRolloutError: the node was skipped.
    """
    _require_node(pipeline, node)
    run_id = uuid.uuid4().hex
    with _place(folder) as place:
        record = place / f"{run_id}.jsonl"
        async with pipeline.run(inputs, record=record, run_id=run_id) as run:
            _grade(run, await run.wait(), reward)  # before the run is left, which closes its record
        # From the record, which has every id with its values once.
        rows = trajectories_of(read_record(record), [node])
    if not rows:
        raise MissingRolloutError(node)
    if len(rows) > 1:
        raise ForkedRolloutError(node, rows)
    return rows[0]


def _require_node(pipeline: Pipeline, node: str) -> None:
    known = prompted_nodes(pipeline.build())
    if declared_path(node) not in known:
        raise InputError(f"there is no node {node!r} that asks a model; there are {', '.join(sorted(known))}")


def _grade(run: Run, result: RunResult, reward: Reward | None) -> None:
    found = None if reward is None else reward(result)
    if isinstance(found, Mapping):
        for node, value in found.items():
            run.reward(node, value)
    elif found is not None:
        run.reward(None, found)


async def run_rollouts(
    pipeline: Pipeline,
    inputs: Sequence[Mapping[str, Any]],
    node: str,
    *,
    reward: Reward | None = None,
    folder: str | Path | None = None,
    concurrency: int = ROLLOUTS_AT_ONCE,
) -> list[Trajectory]:
    """Run a pipeline once for each of many inputs, some at a time; return a row for each, in order.

    Raises:
        InputError: the pipeline has no such node that asks a model; nothing was run.
        RunError: a run failed; the others are stopped.
        ForkedRolloutError: a node's turns are several rows.
        MissingRolloutError: a node was skipped.
    """
    rows: list[Trajectory | None] = [None] * len(inputs)  # by number: trainers match rows to their prompts
    places = anyio.Semaphore(concurrency)
    # Raised outside the task group, which would wrap it in an exception group.
    first: list[BaseException] = []

    async def one(number: int, given: Mapping[str, Any]) -> None:
        async with places:
            try:
                rows[number] = await run_rollout(pipeline, given, node, reward=reward, folder=folder)
            except Exception as error:
                first.append(error)
                group.cancel_scope.cancel()

    async with TaskGroup() as group:
        for number, given in enumerate(inputs):
            group.start_soon(one, number, given)
    if first:
        raise first[0]
    return [row for row in rows if row is not None]
