"""A declared pipeline that can be built and run.

The compiler and the runtime are imported on the first build: a program that only declares starts twice as
fast.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from codec_agents import graph
from codec_agents.display.displayed import Displayed
from codec_agents.exceptions import PipelineError
from codec_agents.graph.live import LiveObjects
from codec_agents.runtime.options import DEFAULT_CONCURRENCY, RunOptions, check_options_of_many, start_run

if TYPE_CHECKING:
    from codec_agents.display.parts import Part
    from codec_agents.faults import Fault
    from codec_agents.graph.explain import Explanation
    from codec_agents.graph.spec import PipelineSpec
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.prompts import History
    from codec_agents.records.recorded import RecordedRun
    from codec_agents.replay import AnswerSource
    from codec_agents.runtime.batch import Completed
    from codec_agents.runtime.pause import Decision, Pause
    from codec_agents.runtime.result import RunResult
    from codec_agents.runtime.run import Run

_log = logging.getLogger(__name__)


class Pipeline(graph.Declaration, Displayed):
    """A pipeline: declare it, then run it. Notebooks show its graph.

    The declaration can be changed at any time. Runs that have begun keep the plan with which they began.

    Every method that runs takes the same options: see `codec_agents.runtime.options.RunOptions`.
    """

    _built: BuiltPipeline | None = None
    _built_from: PipelineSpec | None = None

    @classmethod
    def _unmet_needs(cls, spec: PipelineSpec, directory: Path | None) -> Iterable[Fault]:
        """Find missing resources of the valid parts of a declaration, to report all faults at once."""
        from codec_agents.compiler.missing_resources import unmet_needs
        from codec_agents.compiler.resources import Resources

        return unmet_needs(spec, Resources(spec, LiveObjects(), directory))

    def build(self) -> BuiltPipeline:
        """Check everything that can be known, and load what a run needs.

        Later calls return the same plan while nothing else is declared.

        Raises:
            PipelineError: with every fault, each with its place, what was found and what to do.
        """
        # Each call that declares something sets `_spec` to None, and the next look at it makes another one.
        if self._built is None or self._spec is not self._built_from:
            from codec_agents.compiler.compiler import build

            self._built = build(self)
            self._built_from = self.spec
            for fault in self._built.warnings:
                _log.warning("pipeline %s: %s", self._built.name, fault)
        return self._built

    def explain(self) -> Explanation:
        """Return a description of the plan: each node, what each edge holds back, where text appears.

        No engine is asked.

        Raises:
            PipelineError: the pipeline cannot be built.
        """
        from codec_agents.plan.explanation import explain

        return explain(self.build())

    def to_mermaid(self) -> str:
        """Return a drawing of the declaration as Mermaid text."""
        from codec_agents.graph.drawing.mermaid import to_mermaid

        return to_mermaid(self.spec)

    def to_svg(self) -> str:
        """Return a drawing of the declaration as an SVG document."""
        from codec_agents.graph.drawing.svg import to_svg

        return to_svg(self.spec)

    def _display_parts(self) -> Iterable[Part]:
        """Return the graph, or the faults: a notebook also shows what is half declared."""
        from codec_agents.display.parts import Title
        from codec_agents.graph.drawing.parts import declaration_parts, fault_parts

        try:
            return declaration_parts(self.spec, self.check())
        except PipelineError as error:
            return [Title(f"pipeline {self.name}, not complete"), *fault_parts(error.errors)]

    def run(
        self,
        inputs: Mapping[str, Value] | None = None,
        *,
        after: RunResult | Mapping[str, History] | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Return a run, to be used as an async context manager.

        Args:
            inputs: a value for each input: text, or ids of the input's map.
            after: the result of an earlier run, or histories of single nodes from it. Their models continue
                those conversations, and this run's user turn is the next one.
            **options: see `RunOptions`.

        Raises:
            InputError: the inputs, or the histories, are not those of the pipeline.
            PromptError: a prompt cannot continue a conversation.
        """
        built, histories = self._continuing(after)
        return start_run(built, built.checked_inputs(inputs or {}), options, histories=histories)

    def resume(
        self,
        pause: Pause | str | bytes,
        decisions: Sequence[Decision],
        *,
        after: RunResult | Mapping[str, History] | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Return a run that continues a suspended one.

        Args:
            pause: the `pause` of an `ApprovalRequiredError`, or its JSON.
            decisions: for each of `pause.pending`: yes, no, or no with words for the model.
            after: as for `run`, where the suspended run had it.
            **options: see `RunOptions`. A record begins with the turn that waited.

        Raises:
            PauseError: the pause is of another pipeline, the decisions do not fit it, or its record is not
                there or holds an answer already.
        """
        from codec_agents.runtime.pause import Pause, Resumption

        if not isinstance(pause, Pause):
            pause = Pause.from_json(pause)
        built, histories = self._continuing(after)
        pause.check(built)
        values = built.checked_inputs(pause.inputs)
        resumed = Resumption(pause, decisions)
        # The run reads this record: it is refused as the one to be written.
        sources = () if pause.record is None else (pause.record.path,)
        return start_run(built, values, options, histories=histories, resumed=resumed, sources=sources)

    def replay(
        self,
        recorded: RecordedRun | str | Path,
        *,
        tools: AnswerSource = "recorded",
        functions: AnswerSource = "recorded",
        speed: float | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Return a run that asks no engine: each turn is answered as it was recorded.

        Sinks write. A prompt that differs from the recorded one ends the replay with a `ReplayError` that
        names the node, its turn and the position.

        Args:
            recorded: a record, or its file.
            tools: `recorded` returns the recorded results of tools, `run` runs them.
            functions: the same for functions: those of nodes, conditions, and functions that split a stream.
            speed: 1.0 keeps the recorded intervals between ids, 2.0 halves them; None does not wait.
            **options: see `RunOptions`.

        Raises:
            RecordError: the file cannot be read, is the one to be written, has ids of other maps, or is of a
                version without the results of functions.
        """
        from codec_agents.replay import replay

        return replay(self.build(), recorded, tools=tools, functions=functions, speed=speed, **options)

    def recover(
        self,
        recorded: RecordedRun | str | Path,
        *,
        functions: AnswerSource = "recorded",
        **options: Unpack[RunOptions],
    ) -> Run:
        """Return a run that continues where a recorded one was cut off.

        Turns that are recorded to their end are taken from the record, a turn that was cut continues from
        its exact prefix, and the rest is generated as in any run. A tool or function whose result is
        recorded does not run again; one that was running when the record ends does.

        Args:
            recorded: a record, or its file.
            functions: `recorded` takes recorded results, `run` runs functions again: where one returns
                something else now, what depends on it is generated anew.
            **options: see `RunOptions`. A record contains the whole run, with what was recovered.

        Raises:
            RecordError: the file cannot be read, is the one to be written, or has ids of other maps.
        """
        from codec_agents.replay import recover

        return recover(self.build(), recorded, functions=functions, **options)

    def run_or_recover(
        self,
        path: str | Path,
        inputs: Mapping[str, Value] | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Return a run that is written to a record, and that goes on where an earlier process left it there.

        The record stays one file, in which each id and each result is once, however often the process that
        runs it dies. What is recorded is not done again, as in `recover`. A run that was recorded to its end
        gives its result again, and asks no engine. A run that waits for approval goes on with the decisions
        that `codec_agents.records.answers.answer` added to its record.

        Args:
            path: the record; where it is missing or empty, the run begins.
            inputs: the inputs of the run, the same each time.
            **options: see `RunOptions`; without `record`.

        Raises:
            InputError: the inputs are not those of the pipeline.
            RecordError: the record is being written, is damaged, or is of another pipeline or other inputs.
        """
        from codec_agents.replay import run_or_recover

        return run_or_recover(self.build(), path, inputs, **options)

    def _continuing(
        self, after: RunResult | Mapping[str, History] | None
    ) -> tuple[BuiltPipeline, Mapping[str, History]]:
        if after is None:
            return self.build(), {}
        from codec_agents.plan.variants import continued_from

        histories = after if isinstance(after, Mapping) else after.histories
        return continued_from(self.build(), histories), histories

    async def invoke(
        self,
        inputs: Mapping[str, Value] | None = None,
        *,
        after: RunResult | Mapping[str, History] | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Run to the end and return the result; the arguments are those of `run`.

        Raises:
            RunError: the run failed.
        """
        return await self.run(inputs, after=after, **options).execute()

    def invoke_sync(
        self,
        inputs: Mapping[str, Value] | None = None,
        *,
        after: RunResult | Mapping[str, History] | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Run to the end in an event loop of its own, also where a loop is running, as in a notebook.

        The arguments are those of `run`.

        Raises:
            RunError: the run failed.
            RunCancelledError: a tool or a function cancelled every task of the loop, or stopped it.
        """
        from codec_agents.runtime.own_loop import run_to_the_end

        async def execute() -> RunResult:
            return await self.invoke(inputs, after=after, **options)

        return run_to_the_end(execute)

    async def batch(
        self,
        inputs: Iterable[Mapping[str, Value]],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        progress: Callable[[int, int], None] | bool | None = None,
        after: RunResult | Mapping[str, History] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[RunResult | Exception]:
        """Run once for each of the inputs; return the results in their order, a failed run as its error.

        Args:
            inputs: the inputs of each run.
            concurrency: runs at once.
            progress: True shows a bar, on a terminal or in a notebook. A callable is called with the number
                of finished runs and of all, after each.
            after: as for `run`.
            **options: see `RunOptions`. `record` names a folder: each run is written to a file there, named
                by its position. `run_id` is a prefix of the runs' names.

        Raises:
            InputError: `inputs` is no list of mappings, or an option has another type.
            TypeError: an option is unknown.
            ValueError: `concurrency` is less than 1.
            Exception: what `progress` raised; the other runs are stopped.
        """
        from codec_agents.runtime.batch import BatchRun, inputs_of

        # All at once: the progress tells the number of runs, and results keep the positions of their inputs.
        each = inputs_of(inputs)
        run = self._run_of(each, after, options)
        async with self.opened():
            with self._reported(progress, len(each)) as report:
                return await BatchRun(run, len(each), report).run(concurrency)

    @contextmanager
    def _reported(
        self, progress: Callable[[int, int], None] | bool | None, total: int
    ) -> Iterator[Callable[[int, int], None] | None]:
        if not isinstance(progress, bool):
            yield progress
        elif progress:
            from codec_agents.display.progress import progress_bar

            with progress_bar(self.name, total) as report:
                yield report
        else:
            yield None

    @asynccontextmanager
    async def batch_as_completed(
        self,
        inputs: Iterable[Mapping[str, Value]],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        after: RunResult | Mapping[str, History] | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncIterator[AsyncIterator[Completed]]:
        """Run once for each of the inputs; yield each result as it comes, with the position of its inputs.

        Use it as an async context manager, and iterate over what it gives. Leaving stops the other
        runs. The arguments are those of `batch`.

        Raises:
            InputError: `inputs` is no list of mappings, or an option has another type.
            TypeError: an option is unknown.
            ValueError: `concurrency` is less than 1.
        """
        from codec_agents.runtime.batch import completing, inputs_of

        # All at once: results come in any order, each with the position of its inputs.
        each = inputs_of(inputs)
        run = self._run_of(each, after, options)
        async with self.opened(), completing(run, len(each), concurrency) as results:
            yield results

    def _run_of(
        self,
        each: Sequence[Mapping[str, Value]],
        after: RunResult | Mapping[str, History] | None,
        options: RunOptions,
    ) -> Callable[[int], Awaitable[RunResult]]:
        """Return what runs the pipeline for the inputs at a position.

        Raises:
            Exception: what each run would raise for its options, or for what it continues.
        """
        check_options_of_many(options)
        self._continuing(after)

        async def run(position: int) -> RunResult:
            return await self.invoke(each[position], after=after, **_numbered(options, position))

        return run

    async def aclose(self) -> None:
        """Close the connections of the engines that the pipeline created, now. MCP servers end with runs."""
        if self._built is not None:
            await self._built.lease.close()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Pipeline]:
        """Keep engines and MCP servers open from run to run; otherwise each run closes them at its end.

        Raises:
            ToolServerError: an MCP server that the declaration names cannot be started or reached.
        """
        built = self.build()
        async with built.lease, built.servers.shared():
            yield self


def _numbered(options: RunOptions, position: int) -> RunOptions:
    """Return the options of one run of a batch: its own record, and its own name."""
    numbered = options.copy()
    if (record := options.get("record")) is not None:
        folder = Path(record)
        folder.mkdir(parents=True, exist_ok=True)
        # Six digits: the files of a million runs sort by their positions.
        numbered["record"] = folder / f"{position:06}.jsonl"
    if (run_id := options.get("run_id")) is not None:
        numbered["run_id"] = f"{run_id}-{position}"
    return numbered
