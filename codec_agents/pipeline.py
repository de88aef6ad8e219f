"""A declared pipeline that can be built and run.

What builds and runs is imported on the first build: a program that only declares starts twice as fast.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import current_token

from codec_agents import graph
from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.graph.live import LiveObjects
from codec_agents.runtime.batch import DEFAULT_CONCURRENCY, Batch

if TYPE_CHECKING:
    from codec_agents.faults import Fault
    from codec_agents.graph.spec import PipelineSpec
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.prompts import History
    from codec_agents.records.recorded import RecordedRun
    from codec_agents.records.writer import Recorder
    from codec_agents.replay import AnswerSource
    from codec_agents.runtime.pause import Decision, Pause
    from codec_agents.runtime.run import Run, RunResult
    from codec_agents.tools.calls import Approver


class Pipeline(graph.Pipeline):
    """A pipeline: declare it, then run it.

    The declaration can be changed until the first `build` or run; what was built stays as it was built.
    """

    _built: BuiltPipeline | None = None

    @classmethod
    def _unmet_needs(cls, spec: PipelineSpec, directory: Path | None) -> Iterable[Fault]:
        """Look for what the sound parts of a declaration name, so that all faults are told at once."""
        from codec_agents.compiler.missing_resources import unmet_needs
        from codec_agents.compiler.resources import Resources

        return unmet_needs(spec, Resources(spec, LiveObjects(), directory))

    def build(self) -> BuiltPipeline:
        """Check everything that can be known, and load what a run needs; once.

        Raises:
            PipelineError: with every fault, each with its place, what was found and what would do.
        """
        if self._built is None:
            from codec_agents.compiler.compiler import build

            self._built = build(self)
        return self._built

    def run(
        self,
        inputs: Mapping[str, Value] | None = None,
        *,
        record: str | Path | None = None,
        deps: object = None,
        run_id: str | None = None,
        approve: Approver | None = None,
        after: RunResult | Mapping[str, History] | None = None,
    ) -> Run:
        """Return a run, to be used as an async context manager.

        Args:
            inputs: A value for each input: text, or ids of the input's map.
            record: A file to which the run is written as it happens.
            deps: Handed to tools by their context argument.
            run_id: Its name in traces and records; made up when left out.
            approve: Says whether a tool with `approval=True` may run: yes, no, or no with words for the
                model. Without it, such a call ends the run with an `ApprovalRequiredError`, from whose
                `pause` another process can go on.
            after: The result of an earlier run, or histories of single nodes from it: their models go on with
                what they were told and said there, and this run's user turn is the next one.

        Raises:
            InputError: the inputs, or the histories, are not those of the pipeline.
            PromptError: a prompt that cannot be gone on with.
        """
        from codec_agents.runtime.run import Run

        built, histories = self._going_on(after)
        values = built.checked_inputs(inputs or {})
        recorder = _recorder(built, values, record, histories)
        return Run(built, values, run_id=run_id, recorder=recorder, deps=deps, approve=approve)

    def resume(
        self,
        pause: Pause | str | bytes,
        decisions: Sequence[Decision],
        *,
        record: str | Path | None = None,
        deps: object = None,
        approve: Approver | None = None,
        after: RunResult | Mapping[str, History] | None = None,
    ) -> Run:
        """Return a run that goes on from where another one was put down.

        Args:
            pause: What the `ApprovalRequiredError` held, or its JSON.
            decisions: For each of `pause.pending`: yes, no, or no with words for the model.
            record: A file for what happens from now on; it begins with the turn that waited.
            deps: As for `run`.
            approve: As for `run`.
            after: As for `run`, where the run that was put down had it.

        Raises:
            PauseError: the pause is of another pipeline, or the decisions do not fit it.
        """
        from codec_agents.runtime.pause import Pause, Resumption
        from codec_agents.runtime.run import Run

        if not isinstance(pause, Pause):
            pause = Pause.from_json(pause)
        built, histories = self._going_on(after)
        pause.check(built)
        resumed, values = Resumption(pause, decisions), built.checked_inputs(pause.inputs)
        recorder = _recorder(built, values, record, histories)
        return Run(
            built,
            values,
            run_id=pause.run_id,
            recorder=recorder,
            deps=deps,
            approve=approve,
            resumed=resumed,
        )

    def replay(
        self,
        recorded: RecordedRun | str | Path,
        *,
        tools: AnswerSource = "recorded",
        functions: AnswerSource = "recorded",
        speed: float | None = None,
        record: str | Path | None = None,
        deps: object = None,
        run_id: str | None = None,
    ) -> Run:
        """Return a run in which no engine is asked: each turn is answered as it was recorded.

        Sinks write. A prompt that is not the recorded one ends the replay with a `ReplayError` that names the
        node, its turn and the position.

        Args:
            recorded: A record, or its file.
            tools: `recorded` gives the recorded results of tools, `run` runs them.
            functions: The same for functions: those of nodes, conditions, and what cuts a stream into items.
            speed: 1.0 lets ids come as far apart as they came, 2.0 twice as fast; None without any wait.
            record: A file to which the replay is written.
            deps: Handed to tools by their context argument.
            run_id: Its name in traces and records; made up when left out.

        Raises:
            RecordError: the file cannot be read, is written to as well, is of ids of other maps, or is of a
                version that does not say what functions gave.
        """
        from codec_agents.replay import replay

        return replay(
            self.build(),
            recorded,
            tools=tools,
            functions=functions,
            speed=speed,
            record=record,
            deps=deps,
            run_id=run_id,
        )

    def recover(
        self,
        recorded: RecordedRun | str | Path,
        *,
        functions: AnswerSource = "recorded",
        record: str | Path | None = None,
        deps: object = None,
        run_id: str | None = None,
        approve: Approver | None = None,
    ) -> Run:
        """Return a run that goes on where a recorded one was cut off.

        Turns that are recorded to their end are taken from the record, a turn that was cut goes on from its
        exact prefix, and the rest is asked as in any run. A tool or function whose result is
        recorded does not run again; one that was at work does.

        Args:
            recorded: A record, or its file.
            functions: `recorded` takes what is recorded, `run` runs them again: where one gives something
                else now, what follows from it is asked anew.
            record: A file to which the whole run is written, what was recovered included.
            deps: Handed to tools by their context argument.
            run_id: Its name in traces and records; made up when left out.
            approve: As for `run`.

        Raises:
            RecordError: the file cannot be read, is written to as well, or is of ids of other maps.
        """
        from codec_agents.replay import recover

        return recover(
            self.build(),
            recorded,
            functions=functions,
            record=record,
            deps=deps,
            run_id=run_id,
            approve=approve,
        )

    def _going_on(
        self, after: RunResult | Mapping[str, History] | None
    ) -> tuple[BuiltPipeline, Mapping[str, History]]:
        if after is None:
            return self.build(), {}
        from codec_agents.plan.variants import continued_from

        histories = after if isinstance(after, Mapping) else after.histories
        return continued_from(self.build(), histories), histories

    async def invoke(self, inputs: Mapping[str, Value] | None = None, **options: Any) -> RunResult:
        """Run to the end and return the result.

        Raises:
            RunError: the run failed.
        """
        return await self.run(inputs, **options).execute()

    def invoke_sync(self, inputs: Mapping[str, Value] | None = None, **options: Any) -> RunResult:
        """Run to the end in an event loop of its own, also where one is running already, as in a notebook."""

        async def execute() -> RunResult:
            return await self.invoke(inputs, **options)

        try:
            current_token()
        except RuntimeError:  # no event loop runs in this thread
            return anyio.run(execute)
        return run_in_own_loop(execute)

    async def batch(
        self,
        inputs: Iterable[Mapping[str, Value]],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[RunResult | Exception]:
        """Run once for each of the inputs; return results in their order, a failed run as its error.

        Args:
            inputs: The inputs of each run.
            concurrency: Runs under way at once.
            progress: Called with the number of finished runs and of all, after each.

        Raises:
            ValueError: `concurrency` is less than 1.
            Exception: what `progress` raised; the other runs are stopped.
        """
        return await Batch(self, list(inputs), progress).run(concurrency)

    async def aclose(self) -> None:
        """Close the connections of the engines that the pipeline made, now."""
        if self._built is not None:
            await self._built.lease.close()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Pipeline]:
        """Keep engines and MCP servers from run to run; without this they close behind each run.

        Raises:
            ToolServerError: an MCP server that the declaration names cannot be had.
        """
        built = self.build()
        async with built.lease, built.servers.shared():
            yield self


def _recorder(
    built: BuiltPipeline,
    values: Mapping[str, Value],
    record: str | Path | None,
    histories: Mapping[str, History],
) -> Recorder | None:
    if record is None:
        return None
    from codec_agents.records.header import after_header, record_header
    from codec_agents.records.writer import Recorder

    return Recorder(record, {**record_header(built), "inputs": values, **after_header(histories)})
