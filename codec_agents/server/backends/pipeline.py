"""The pipeline back end: a pipeline answers as a model would.

What a client asks becomes the pipeline's one input; the ids that reach one sink are the answer, in the
vocabulary that they have there. Every request is a run of its own, and a client that leaves ends its run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import propagate

from codec_agents.engines.base import SamplingOptions
from codec_agents.exceptions import (
    EngineError,
    EngineStatusError,
    EngineTimeoutError,
    EngineUnavailableError,
    InputError,
    LimitExceededError,
    NodeFailedError,
    PipelineError,
    RunError,
)
from codec_agents.faults import Fault, suggest
from codec_agents.server.apis.families import dialect_of
from codec_agents.server.backends.backend import BrokenOffError, Job, ServedModel
from codec_agents.server.failures import log_failure
from codec_agents.server.http import HttpError
from codec_core.detokenizer import Detokenizer
from codec_core.frames import CodecFrame
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ReadPrompt
    from codec_agents.pipeline import Pipeline
    from codec_agents.plan.nodes import BuiltInput, BuiltSink, Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.runtime.outputs import SinkReader
    from codec_agents.runtime.run import Run
    from codec_agents.server.apis.request import ConversationRequest


class PipelineBackend:
    """Serves one pipeline as a model.

    Args:
        pipeline: the pipeline; it is built here, and opened and closed with the server.
        name: what clients call the model; the pipeline's own name if left out.
        input: the input that gets the prompt; may be left out where one input alone needs a value.
        sink: the sink whose ids are the answer; may be left out where there is one, or one of text.

    Raises:
        PipelineError: the pipeline has faults, or its prompt or its answer is ambiguous.
    """

    gathers = True
    stops_itself = False

    def __init__(
        self,
        pipeline: Pipeline,
        name: str | None = None,
        *,
        input: str | None = None,  # noqa: A002 - the declaration's own word
        sink: str | None = None,
    ) -> None:
        self._pipeline = pipeline
        built = pipeline.build()
        self._input = _input_of(built, input)
        self._sink = _sink_of(built, sink)
        vocabulary = _vocabulary_at(built, self._sink)
        self.models: Sequence[ServedModel] = (ServedModel(name or built.name, vocabulary),)

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the answer, and therefore of the prompt."""
        return self.models[0].vocabulary

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        """Start a run; leaving the context ends it.

        Raises:
            HttpError: the run failed before there was an answer.
        """
        if job.options.logprobs is not None:
            raise _no_use("logprobs", "the request asks for logprobs")
        with _trace_of(job):
            try:
                run = self._pipeline.run({self._input.name: prompt_value(self._input, job)})
            except InputError as error:
                raise HttpError(400, str(error), param="prompt") from error
        async with run:
            answer = _Answer(run, self._sink.name, job.options)
            await answer.begin()
            yield answer

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep the pipeline's engines and MCP servers from run to run.

        Raises:
            ToolServerError: an MCP server cannot be reached.
        """
        async with self._pipeline.opened():
            yield


MAX_TEXT = 256 * 1024
"""Characters of what a client asks. A run encodes its prompts on the event loop, for each node anew."""


def prompt_value(node: BuiltInput, job: Job) -> Value:
    """Return what the input gets: what the user asks, or the whole prompt where it has no turns.

    Raises:
        HttpError: 400, the request holds what the pipeline has no use for, or is too long.
    """
    text = _asked_in(job)
    if len(text) > MAX_TEXT:
        raise HttpError(400, f"the text has {len(text)} characters, the limit is {MAX_TEXT}", param="prompt")
    return text if node.vocabulary is None else pick_tokenizer(node.vocabulary).encode_ordinary(text)


def _asked_in(job: Job) -> str:
    """Return the one text that a pipeline has use for; refuse a request that holds more."""
    if job.chat is not None:
        return _asked_in_chat(job.chat)
    vocabulary = job.model.vocabulary
    if job.text is not None and vocabulary.special_ids.isdisjoint(job.prompt_ids):
        return job.text
    dialect = dialect_of(vocabulary)
    if dialect is None or vocabulary.special_ids.isdisjoint(job.prompt_ids):
        return Detokenizer(vocabulary).render(job.prompt_ids)
    text = _asked_in_prompt(dialect.read(job.prompt_ids), dialect.dialect.default_system)
    # Content that was encoded by itself, as a slot of a prompt is, begins with a space of its own.
    return text.removeprefix(" ") if vocabulary.trims_first_space else text


def _asked_in_prompt(prompt: ReadPrompt, default_system: str | None) -> str:
    """Return the user's message of a prompt in ids. The system text that a family adds by itself is none."""
    said = [
        message
        for message in prompt.messages
        if (message.role, message.content) not in (("system", default_system), ("assistant", ""))
    ]
    if prompt.tools is not None:
        raise _no_use("prompt", "the prompt declares tools")
    if len(said) != 1 or said[0].role != "user":
        roles = ", ".join(message.role for message in said) or "none"
        raise _no_use("prompt", f"the roles of the messages in the prompt are {roles}")
    return said[0].content


def _asked_in_chat(chat: ConversationRequest) -> str:
    if chat.offered_tools:
        raise _no_use("tools", "the request offers tools")
    for place, message in enumerate(chat.messages):
        if message.role != "user" or place < len(chat.messages) - 1:
            raise _no_use(
                f"messages[{place}]",
                f"messages[{place}] has the role {message.role!r}; only one user message is taken",
            )
    return chat.messages[0].content


def _no_use(param: str, found: str) -> HttpError:
    """Return the refusal of what the pipeline would drop: a client must not believe that it was heeded."""
    return HttpError(
        400,
        f"{found}: a served pipeline has its own prompts and tools, and takes one user message",
        code="unsupported_parameter",
        param=param,
    )


class _Answer:
    """The ids that reach the sink, as the frames of one generation."""

    def __init__(self, run: Run, sink: str, options: SamplingOptions) -> None:
        self._batches: SinkReader[list[int]] = run.ids(sink)
        self._ready: deque[CodecFrame] = deque()
        self._left = options.max_tokens
        self._stops = frozenset(options.stop_token_ids)

    async def begin(self) -> None:
        """Wait for the first ids: until then a failure can still be reported by a status.

        Raises:
            HttpError: the run failed.
        """
        try:
            self._ready.append(await self._next())
        except RunError as error:
            raise failure(error) from error

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        if self._ready:
            return self._ready.popleft()
        try:
            return await self._next()
        except RunError as error:
            raise BrokenOffError(str(error)) from error

    async def _next(self) -> CodecFrame:
        """Return the next ids: the last ones at the end of the run, at a stop id, or at the limit."""
        ids = await anext(self._batches, None)
        if ids is None:
            return CodecFrame((), done=True, finish_reason="stop")
        ids = ids[: self._left]
        stop = next((place for place, token in enumerate(ids, 1) if token in self._stops), None)
        if stop is not None:
            return CodecFrame(tuple(ids[:stop]), done=True, finish_reason="stop")
        self._left -= len(ids)
        reached = self._left == 0
        return CodecFrame(tuple(ids), done=reached, finish_reason="length" if reached else None)


def failure(error: RunError) -> HttpError:
    """Return the answer for a run that failed before it had given anything.

    The status shows a client whether to retry. Node names, tools, engines and their texts are the
    pipeline's internals: the log has them, under the id that the client gets.
    """
    cause = error.cause if isinstance(error, NodeFailedError) else error
    headers = {}
    status = 500
    if isinstance(cause, EngineStatusError) and cause.status in (429, 503):
        status = cause.status
        headers = {"retry-after": f"{math.ceil(cause.retry_after or 1)}"}
    elif isinstance(cause, EngineTimeoutError):
        status = 504
    elif isinstance(cause, EngineError):
        status = 503 if isinstance(cause, EngineUnavailableError) else 502
    elif isinstance(error, LimitExceededError) and error.limit == "wall":
        status = 504
    return HttpError(
        status, log_failure("the pipeline failed", error), code="pipeline_failed", headers=headers
    )


@contextmanager
def _trace_of(job: Job) -> Iterator[None]:
    """Make the client's trace the current one, for what begins in here."""
    token = otel_context.attach(propagate.extract(job.headers))
    try:
        yield
    finally:
        otel_context.detach(token)


# --- what of a pipeline is the prompt, and what the answer ---


def _input_of(built: BuiltPipeline, name: str | None) -> BuiltInput:
    """Return the input that gets the prompt; the others must have values of their own."""
    needed = [node for node in built.inputs.values() if node.default is None]
    chosen = built.inputs.get(name) if name is not None else None
    if name is not None and chosen is None:
        raise _fault(built, "nodes", f"there is no input {name!r}", suggest(name, built.inputs, "inputs"))
    if chosen is None and len(needed) != 1:
        candidates = needed or list(built.inputs.values())
        if len(candidates) != 1:
            names = ", ".join(node.name for node in candidates) or "none"
            raise _fault(built, "nodes", f"several inputs can be the prompt: {names}", "name one: --input")
        chosen = candidates[0]
    chosen = chosen or needed[0]
    for node in needed:
        if node is not chosen:
            place, found = f"nodes.{node.name}", f"only {chosen.name!r} gets a value: the prompt"
            raise _fault(built, place, found, "give this input a `default`")
    return chosen


def _sink_of(built: BuiltPipeline, name: str | None) -> BuiltSink:
    if name is not None:
        if name not in built.sinks:
            raise _fault(built, "nodes", f"there is no sink {name!r}", suggest(name, built.sinks, "sinks"))
        return built.sinks[name]
    sinks = list(built.sinks.values())
    candidates = sinks if len(sinks) == 1 else [sink for sink in sinks if sink.text]
    if len(candidates) != 1:
        names = ", ".join(built.sinks) or "none"
        raise _fault(built, "nodes", f"several sinks can be the answer: {names}", "name one: --sink")
    return candidates[0]


def _vocabulary_at(built: BuiltPipeline, sink: BuiltSink) -> Vocabulary:
    found = [edge.source_vocabulary for edge in built.edges_into(sink.name)]
    known = [vocabulary for vocabulary in found if vocabulary is not None]
    place = f"nodes.{sink.name}"
    if not known or len(known) < len(found):
        raise _fault(built, place, "text reaches this sink, but a model answers in ids", "serve another sink")
    if len({vocabulary.hash or vocabulary.id for vocabulary in known}) > 1:
        ids = ", ".join(sorted({vocabulary.id for vocabulary in known}))
        raise _fault(built, place, f"ids of several maps reach this sink: {ids}", "join them in one map")
    return known[0]


def _fault(built: BuiltPipeline, place: str, found: str, remedy: str) -> PipelineError:
    return PipelineError([Fault(place, found, remedy)], built.name)
