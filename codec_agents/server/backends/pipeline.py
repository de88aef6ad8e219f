"""The pipeline back end: a pipeline answers as a model would.

What a client asks becomes the pipeline's one input; the ids that reach one sink are the answer, in the
vocabulary that they have there. Every request is a run of its own, and a client that leaves ends its run.

Rules that hold in this file:

- The earlier messages of a chat are the history of the run: each model continues the conversation that it had
  in the run that gave the last answer, with its exact ids.
- A call of a tool that the client offers suspends the run. The next request has the results, and resumes it.
- What is remembered is remembered before the last frame of an answer, so that the next request finds it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import propagate

from codec_agents.exceptions import (
    InputError,
    PromptError,
)
from codec_agents.graph.serving import ServeSpec
from codec_agents.plan.variants import continued_from, prompted_nodes
from codec_agents.runtime.options import start_run
from codec_agents.server.backends.backend import PROGRESS_HEADER, Job, ServedModel
from codec_agents.server.backends.conversations import Conversations, Turn
from codec_agents.server.backends.pipeline_answer import RunAnswer
from codec_agents.server.backends.pipeline_ends import input_of, sink_of, vocabulary_at
from codec_agents.server.backends.pipeline_plans import Plans, histories_of_text, is_client_tool
from codec_agents.server.backends.pipeline_requests import MAX_TEXT, Asked, no_use, read_asked
from codec_agents.server.http import HttpError
from codec_agents.server.workers import Workers
from codec_agents.tools.calls import call_key
from codec_core.detokenizer import Detokenizer
from codec_core.frames import CodecFrame
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.prompts import History
    from codec_agents.runtime.pause import Pause
    from codec_agents.runtime.run import Run


class PipelineBackend:
    """Serves one pipeline as a model.

    Args:
        pipeline: the pipeline; it is built here, and opened and closed with the server. Its `serve` says
            where the parts of a chat go.
        name: what clients call the model; the pipeline's own name if left out.
        input: the input that gets the prompt; may be left out where one input alone needs a value.
        sink: the sink whose ids are the answer; may be left out where there is one, or one of text.
        store: the SQLite file in which conversations outlast the server; that of `serve` if left out, and in
            memory alone if that has none.
        max_text: characters of what a client asks; each run encodes its prompts on the event loop.

    Raises:
        PipelineError: the pipeline has faults, or its prompt or its answer is ambiguous.
    """

    gathers = True
    stops_itself = False
    converses = True

    def __init__(
        self,
        pipeline: Pipeline,
        name: str | None = None,
        *,
        input: str | None = None,  # noqa: A002 - the declaration's own word
        sink: str | None = None,
        store: str | Path | None = None,
        max_text: int = MAX_TEXT,
    ) -> None:
        self._max_text = max_text
        self._pipeline = pipeline
        self._built = built = pipeline.build()
        self._serve = built.spec.serve or ServeSpec()
        self._input = input_of(built, input or self._serve.input)
        self._sink = sink_of(built, sink or self._serve.sink)
        vocabulary = vocabulary_at(built, self._sink)
        self.models: Sequence[ServedModel] = (ServedModel(name or built.name, vocabulary),)
        self._plans = Plans(built, self._serve)
        self._conversations = Conversations()
        self._store = self._store_of(store)
        self._workers = Workers()
        # The keys of conversations need one dialect's forms; the models' own ids are kept beside them.
        models = prompted_nodes(built)
        self._dialect = next((node.dialect for node in models.values()), None)

    def _store_of(self, given: str | Path | None) -> Path | None:
        """Return the file of conversations, if any; what a declaration names is relative to its folder."""
        if given is not None:
            return Path(given)
        declared = self._serve.store
        return None if declared is None else (self._pipeline.directory or Path()) / declared

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the answer, and therefore of the prompt."""
        return self.models[0].vocabulary

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        """Start a run; leaving the context ends it.

        Raises:
            HttpError: the request has what the pipeline has no use for, or the run failed before there was an
                answer.
        """
        self._check(job)
        read = partial(
            read_asked, job, self._serve, self._built.digest, self._dialect, max_text=self._max_text
        )
        asked = await self._workers.run(
            read, len(job.prompt_ids) if job.chat is None else job.chat.characters
        )
        key = self._plans.key_of(asked)
        plan = await self._workers.run(partial(self._plans.plan_for, asked, key), len(key))
        # Around the start alone: the run keeps the trace in which it began.
        with _trace_of(job):
            begun = self._begin(asked, plan)
        async with begun.run:
            answer = RunAnswer(begun.run, self._sink.name, job, skipped=begun.delivered)
            # Before the first ids are awaited: a run may end, or be suspended, without any.
            answer.ended = lambda: self._remember(asked, begun, answer)
            answer.suspended = lambda pause: self._suspend(asked, begun, answer, pause)
            async with answer.begun():
                yield answer

    def _check(self, job: Job) -> None:
        """Refuse what an answer of this pipeline, or in the form that is asked for, has no place for."""
        chat = job.chat
        if job.progress is not None and (chat is None or not self._serve.progress):
            raise HttpError(
                400,
                "a completion has no place for progress; send a chat"
                if chat is None
                else "this pipeline does not show its progress",
                code="unsupported_parameter",
                param=PROGRESS_HEADER,
            )
        if chat is not None and chat.stream_format is not None and (job.progress or chat.offered_tools):
            raise no_use("stream_format", "frames of ids have no place for calls and progress")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep the pipeline's engines and MCP servers from run to run.

        Raises:
            ToolServerError: an MCP server cannot be reached.
            StoreError: the file of conversations cannot be used.
        """
        with self._remembered():
            async with self._pipeline.opened():
                yield

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        """Hold the file of conversations open."""
        if self._store is None:
            yield
            return
        from codec_agents.server.backends.conversation_file import ConversationFile

        with closing(ConversationFile(self._store)) as file:
            self._conversations = Conversations(file=file)
            yield

    # --- runs ---

    def _begin(self, asked: Asked, plan: BuiltPipeline) -> _Begun:
        turn = self._turn_before(plan, asked)
        try:
            # The conversation comes before the inputs, because the prompts of the plan then continue it.
            plan = continued_from(plan, turn.histories)
            if asked.question is None:
                return self._resume(plan, turn, asked)
            values = plan.checked_inputs({self._input.name: self._value(asked.question)})
            run = start_run(plan, values, {}, histories=turn.histories)
        except InputError as error:
            raise HttpError(400, str(error), param=asked.field) from error
        except PromptError as error:
            raise HttpError(400, f"the conversation cannot be continued: {error}") from error
        return _Begun(run, plan, turn.histories)

    def _resume(self, plan: BuiltPipeline, turn: Turn, asked: Asked) -> _Begun:
        from codec_agents.runtime.pause import Resumption

        pause, results = turn.pause, asked.results
        if pause is None or len(results) != len(pause.pending):
            raise _unknown(asked, "give one result for each call of the last answer, and nothing else")
        keys = [
            f"{pause.run_id}/{call_key(call.node, pause.waiting[call.node].number, call.position)}"
            for call in pause.pending
        ]
        # A client's tool needs an approval, which suspended the run. Now all are approved, and each finds its
        # result under the key of its call.
        deps = dict(zip(keys, results, strict=True))
        resumed = Resumption(pause, [True] * len(results))
        values = plan.checked_inputs(pause.inputs)
        run = start_run(plan, values, {"deps": deps}, histories=turn.histories, resumed=resumed)
        return _Begun(run, plan, turn.histories, turn.delivered)

    def _turn_before(self, plan: BuiltPipeline, asked: Asked) -> Turn:
        """Return the turn that the request continues.

        Raises:
            HttpError: 400, it is not known, and the messages do not tell all of it.
        """
        if asked.place is None:
            return Turn({})
        # `read_asked` refuses earlier messages for a pipeline that has no history.
        assert asked.history is not None
        if (known := self._conversations.find(asked.history.keys[asked.place])) is not None:
            # A suspended run goes on with results, an ended one with a question.
            if (known.pause is not None) == (asked.question is None):
                return known
            raise _unknown(asked, "the last answer was calls: send their results")
        histories = None
        if asked.question is not None:
            before = asked.history.messages[: asked.place + 1]
            try:
                histories = histories_of_text(plan, self._input.name, before)
            except PromptError as error:
                raise HttpError(400, f"the conversation cannot be written: {error}") from error
        if histories is None:
            raise _unknown(asked, "begin a new conversation with one user message")
        return Turn(histories)

    def _value(self, question: str) -> Value:
        node = self._input
        return (
            question if node.vocabulary is None else pick_tokenizer(node.vocabulary).encode_ordinary(question)
        )

    # --- what is remembered ---

    def _suspend(self, asked: Asked, begun: _Begun, answer: RunAnswer, pause: Pause) -> bool:
        """Answer with the calls of the client's tools; return False where a call is not one of those."""
        if not all(is_client_tool(begun.plan, call.node, call.name) for call in pause.pending):
            return False
        answer.tell_calls(pause)
        self._remember(asked, begun, answer, pause)
        return True

    def _remember(self, asked: Asked, begun: _Begun, answer: RunAnswer, pause: Pause | None = None) -> None:
        # A completion has no messages that could come back.
        if asked.history is None:
            return
        from codec_agents.dialects.messages import Message, MessageCall
        from codec_agents.server.gateway.history import key_after

        history, calls = asked.history, () if pause is None else pause.pending
        key = history.keys[len(history.messages) - 1] if history.messages else history.origin
        said = Message(
            role="assistant",
            content=Detokenizer(self.vocabulary).render(answer.ids),
            calls=tuple(MessageCall(call.name, call.arguments) for call in calls),
        )
        # A model that this run did not ask keeps the conversation that it had.
        histories = {**begun.histories, **begun.run.partial_result().histories}
        delivered = 0 if pause is None else begun.delivered + len(answer.ids)
        self._conversations.keep(key_after(key, said), Turn(histories, pause, delivered))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run, its plan, the conversations that it continues, and how many ids went out before it."""

    run: Run
    plan: BuiltPipeline
    histories: Mapping[str, History]
    delivered: int = 0


def _unknown(asked: Asked, remedy: str) -> HttpError:
    return HttpError(
        400,
        f"the conversation is not one that this server remembers; {remedy}",
        code="unknown_conversation",
        param=asked.field,
    )


@contextmanager
def _trace_of(job: Job) -> Iterator[None]:
    """Make the client's trace the current one, for what begins in here."""
    token = otel_context.attach(propagate.extract(job.headers))
    try:
        yield
    finally:
        otel_context.detach(token)
