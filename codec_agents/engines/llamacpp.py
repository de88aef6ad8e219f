"""llama.cpp's server, at token level. Its stream loses ids, and this engine never guesses which."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, Unpack

import msgspec

from codec_agents.engines.base import (
    WHOLE,
    FrameStream,
    GenerationRequest,
    SamplingOptions,
    StreamStats,
)
from codec_agents.engines.checked import count, seconds
from codec_agents.engines.context import ContextQuestion, of_props
from codec_agents.engines.http.engine import Outgoing, headers_of
from codec_agents.engines.http.responses import text_of
from codec_agents.engines.http.stream import HttpStream
from codec_agents.engines.prompt_body import check_prompt, invalid_id, json_of
from codec_agents.engines.request_body import LLAMACPP, for_model, forms_in, place_options
from codec_agents.engines.stock.engine import StockEngine, StockOptions, json_request, rendered
from codec_agents.engines.stock.event_parser import EventParser, TokenIds
from codec_agents.engines.stock.handshake import ask, is_absent, tokenize
from codec_agents.engines.stock.lost_ids import find_lost_ids
from codec_agents.engines.values import ValuesError
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_core.exceptions import DECODE_ERRORS
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import with_values

LostIds = Literal["ask", "error", "no_stream"]

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that is not streamed; it repeats the prompt."""


class LostIdsError(EngineStreamError):
    """The engine generated ids that it did not send, and their text has more than one reading."""


class LlamaCppEngine(StockEngine):
    """A llama.cpp server (`llama-server`).

    While a character is incomplete, the server sends no event, and afterwards only the last of its ids. The
    count that it sends shows how many are missing. Where the text leaves one reading, they are put back;
    `lost_ids` describes the other cases.

    Args:
        url: the server's origin.
        lost_ids: `ask` generates the rest again from the exact prefix, without streaming, which is exact;
            `error` raises `LostIdsError`; `no_stream` never streams at all.
        options: those of every stock engine.
    """

    provider = "llama_cpp"
    logprob_mode = "raw"
    enforced_forms = forms_in(LLAMACPP)
    least_ids = 0
    unstreamed = True
    """Not `whole_answers`: without a stream it would go on behind a stop id, which it does not know."""
    caches_prompts = True
    reports_cached_ids = True
    closes_late = True
    """The server looks for closed connections once a second, and until then their slot, with its cache, is
    busy: the next request gets another one."""

    tokenize_field = "content"
    tokenize_options: ClassVar[Mapping[str, Any]] = {"add_special": False, "parse_special": True}
    content_options: ClassVar[Mapping[str, Any]] = {"add_special": False, "parse_special": False}

    def __init__(self, url: str, *, lost_ids: LostIds = "ask", **options: Unpack[StockOptions]) -> None:
        super().__init__(url, **options)
        self._lost_ids = lost_ids

    def _context_question(self) -> ContextQuestion:
        return ContextQuestion("/props", of_props)

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: the prompt is not in the map, or the request cannot be sent or is refused.
        """
        if self._lost_ids == "no_stream":
            # Nothing is sent on entering, so what `super().stream` checks there is checked here.
            check_prompt(self.name, request)
            await self.check(request)
            yield _Recovering(self, request, None)
            return
        async with super().stream(request) as frames:
            assert isinstance(frames, HttpStream)  # as those of every engine over HTTP
            yield _Recovering(self, request, frames) if self._lost_ids == "ask" else frames

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        # After a stream the server closes the connection, while its head announces keep-alive: the next
        # request on it would be lost.
        streamed = request.stream_interval != WHOLE
        body = completion_body(request, stream=streamed)
        headers = place_options(self.name, request.options, LLAMACPP, body)
        closing = {"Connection": "close"} if streamed else {}
        return json_request("/completion", body, **headers, **closing)

    def _events(self, request: GenerationRequest, stats: StreamStats) -> CompletionEvents:
        return CompletionEvents(self.name, stats, request)

    async def render_chat(self, request: GenerationRequest, conversation: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of a prompt, as `rendering.ChatRendering` describes.

        The text that `/apply-template` gives lacks the first control token where the vocabulary adds one;
        `/tokenize` puts it back.

        Raises:
            EngineError: the engine cannot be asked, or does not render.
        """
        body = for_model(request, {**conversation, "add_generation_prompt": True})
        status, answer = await ask(self, "POST", "/apply-template", body, request.timeouts)
        if is_absent(status, answer):
            return rendered(self, None)
        if status != 200:
            raise self.status_error(status, answer, "/apply-template")
        try:
            text = msgspec.json.decode(answer, type=Applied).prompt
        except DECODE_ERRORS as error:
            raise EngineError(self.name, f"/apply-template gives no prompt: {error}") from error
        fields = {"content": text, "add_special": True, "parse_special": True}
        return rendered(self, await tokenize(self, fields, request))

    async def whole(self, request: GenerationRequest) -> Completion:
        """Generate without streaming: all ids, the last one included.

        Raises:
            EngineError: the engine refused or failed.
        """
        body = completion_body(request, stream=False)
        headers = headers_of(place_options(self.name, request.options, LLAMACPP, body), request)
        # All ids come together at the end. Without a bound on the whole, the node's wall time ends it and not
        # `of_whole_answer`, which is for short answers: this may be the rest of a long one.
        timeouts = msgspec.structs.replace(request.timeouts, first_id=request.timeouts.whole)
        status, answer = await ask(
            self, "POST", "/completion", body, timeouts, headers=headers, limit=MAX_ANSWER
        )
        if status != 200:
            raise self.status_error(status, answer, "/completion")
        try:
            return msgspec.json.decode(answer, type=Completion)
        except DECODE_ERRORS as error:
            raise EngineStreamError(
                self.name, f"the answer cannot be read: {error}", transient=False
            ) from error


def completion_body(request: GenerationRequest, *, stream: bool) -> dict[str, Any]:
    """Return the body of `/completion`. It knows no stop ids; those end the request from this side."""
    body = {
        "prompt": json_of(request.prompt_ids),
        "n_predict": request.options.max_tokens,
        "stream": stream,
        "return_tokens": True,
        "cache_prompt": True,  # the default, unless the server is started with `--no-cache-prompt`
    }
    return for_model(request, body)


class Applied(msgspec.Struct):
    """The answer of `/apply-template`."""

    prompt: str


class Timings(msgspec.Struct):
    """Part of the last event."""

    cache_n: int | None = None
    prompt_ms: float | None = None


class TokenLogprob(msgspec.Struct):
    """An id and its log probability, and those of the most probable ids in its place."""

    id: int
    logprob: float
    top_logprobs: list[TokenLogprob] = []


class Completion(msgspec.Struct):
    """One event of `/completion`, or a whole answer."""

    content: str = ""
    tokens: TokenIds = ()
    stop: bool = False
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    stop_type: str | None = None
    truncated: bool = False
    timings: Timings | None = None
    error: Any = None
    completion_probabilities: list[TokenLogprob] = []
    """Only where they were asked for."""


def values_of(engine: str, event: Completion, ids: Sequence[int], options: SamplingOptions) -> SampledValues:
    """Return the values of an event's ids; a stop id of the client's may have cut them.

    Raises:
        ValuesError: they are missing, or of other ids.
    """
    found = event.completion_probabilities[: len(ids)]
    if [each.id for each in found] != list(ids):
        raise ValuesError(engine, "a log probability is missing, or of another id")
    top, valued = options.logprobs or 0, options.valued_ids
    tops = [
        tuple((each.id, each.logprob) for each in one.top_logprobs if each.id in valued)
        if valued
        else tuple((each.id, each.logprob) for each in one.top_logprobs[:top])
        for one in found
    ]
    return SampledValues(tuple(each.logprob for each in found), tuple(tops) if top or valued else ())


def note_counts(stats: StreamStats, event: Completion) -> None:
    """Take the counts and times of a last event, or of a whole answer."""
    if event.tokens_evaluated is not None:
        stats.prompt_tokens = count(event.tokens_evaluated)
    if event.timings is not None:
        stats.cached_tokens = count(event.timings.cache_n)
        if event.timings.prompt_ms is not None:
            stats.engine_prefill = seconds(event.timings.prompt_ms / 1000)
            stats.engine_seconds = stats.engine_prefill


REASONS = {"eos": "stop", "word": "stop_sequence", "limit": "length", "none": "stop"}


def finish_reason(event: Completion) -> str:
    """Return Codec's word for why a generation ended."""
    return "length" if event.truncated else REASONS.get(event.stop_type or "none", event.stop_type or "stop")


class CompletionEvents(EventParser[Completion]):
    """Reads the events of `/completion`, and finds what they leave out."""

    def __init__(self, engine: str, stats: StreamStats, request: GenerationRequest) -> None:
        super().__init__(engine, stats, Completion)
        self._vocabulary = request.vocabulary
        self._stop_ids = frozenset(request.options.stop_token_ids)
        self._options = request.options
        self._text_tells = not request.options.stop and request.options.logprobs is None
        """Whether the text can tell lost ids. The server also holds back what may begin a stop text, and then
        nothing is known of them; and no text tells their probabilities."""

    def read(self, event: Completion) -> tuple[int, ...]:
        """Return the ids of an event, including lost ones that the text determines."""
        if event.error is not None:
            raise self.reported(event.error)
        if self.awaits_counts:
            self._after_stop(event)
            return ()
        ids = self._complete(event)
        stopped = up_to_stop(ids, self._stop_ids)
        if event.stop:
            self._note_end(event)
        if self._options.logprobs is not None and ids:
            self.values = values_of(self.engine, event, ids if stopped is None else stopped, self._options)
        if stopped is None:
            return ids
        self.reason = "stop"
        # The server ends at its own stop ids only: then its last event, with the counts, follows at once.
        self.awaits_counts = not event.stop
        return stopped

    def _after_stop(self, event: Completion) -> None:
        """Take the counts of the last event; another id shows that the server generates further."""
        self.awaits_counts = False
        if event.stop and not event.tokens:
            reason = self.reason  # the stop id of this side; the server names another one, or its limit
            self._note_end(event)
            self.reason = reason
        else:
            self.server_continues = True

    def _complete(self, event: Completion) -> tuple[int, ...]:
        if event.tokens_predicted is None:
            raise self.broken("an event without tokens_predicted, which shows lost ids", transient=False)
        missing = event.tokens_predicted - self.received - len(event.tokens)
        if missing == 0:
            return event.tokens
        found = None
        # At the stop no known id follows, so the last of the lost ones need not end inside a character.
        if missing > 0 and not event.stop and self._text_tells:
            found = find_lost_ids(self._vocabulary, missing, event.tokens, event.content)
        if found is None:
            raise LostIdsError(
                self.engine,
                f"the engine counts {event.tokens_predicted} ids, {self.received} and {len(event.tokens)} "
                f"came, and the text {event.content[:40]!r} does not determine the others",
                delivered=self.received,
            )
        return (*found, *event.tokens)

    def _note_end(self, event: Completion) -> None:
        self.reason = finish_reason(event)
        note_counts(self.stats, event)

    def _read_event(self, data: bytes) -> list[CodecFrame]:
        """There is no end mark: the event with `stop` set is the last."""
        frames = list(super()._read_event(data))
        return frames if self.reason is None or self.awaits_counts else [*frames, self._end()]


class _Recovering:
    """A stream that continues from its exact prefix, in a request without streaming, when ids were lost.

    Without a stream to begin with, the whole answer comes from such a request.
    """

    def __init__(self, engine: LlamaCppEngine, request: GenerationRequest, stream: HttpStream | None) -> None:
        self.stats = engine.new_stats(request, "json") if stream is None else stream.stats
        self._engine = engine
        self._request = request
        self._stream = stream
        self._received: list[int] = []
        self._rest: deque[CodecFrame] | None = None

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        """Return the next frame.

        Raises:
            EngineError: the stream, or the request for the rest, failed.
        """
        if self._stream is not None:
            try:
                frame = await anext(self._stream)
            # The prefix that came is exact, and the rest is asked for behind it.
            except LostIdsError:
                # Left open, the server would go on with this answer, in the place that has its prefix cached.
                await self._stream.aclose()
                self._stream = None
            else:
                self._received += frame.ids
                return frame
        if self._rest is None:
            self._rest = deque(await self._engine.pool.secrets.sealed(self._ask_for_rest()))
        if not self._rest:
            raise StopAsyncIteration
        return self._rest.popleft()

    async def _ask_for_rest(self) -> list[CodecFrame]:
        options = self._request.options
        remaining = options.max_tokens - len(self._received)
        if remaining < 1:
            return [CodecFrame((), done=True, finish_reason="length")]
        rest = msgspec.structs.replace(
            self._request,
            prompt_ids=[*self._request.prompt_ids, *self._received],
            options=msgspec.structs.replace(options, max_tokens=remaining),
        )
        return await whole_frames(self._engine, rest, self.stats)


async def whole_frames(
    engine: LlamaCppEngine, request: GenerationRequest, stats: StreamStats
) -> list[CodecFrame]:
    """Generate without streaming; return the ids and the end, counted.

    Raises:
        EngineError: the engine refused or failed, or its counts do not agree.
    """
    answer = await engine.whole(request)
    # The one sign that ids are missing: this form of answer is exact, as far as is known.
    if answer.error is not None or len(answer.tokens) != (answer.tokens_predicted or 0):
        counts = f"{answer.tokens_predicted} ids counted, {len(answer.tokens)} sent"
        what = text_of(answer.error or counts)
        said = engine.pool.secrets.hide(f"the answer without streaming is incomplete: {what}")
        raise EngineStreamError(engine.name, said, delivered=stats.ids)
    stopped = up_to_stop(answer.tokens, frozenset(request.options.stop_token_ids))
    ids = answer.tokens if stopped is None else stopped
    if invalid_id(ids, request.vocabulary) is not None:  # before they count as delivered
        what = "an id of the answer is not in the map"
        raise EngineStreamError(engine.name, what, delivered=stats.ids, transient=False)
    if not stats.ids:  # of a rest, they would count what came before as a part of the prompt
        note_counts(stats, answer)
    options = request.options
    values = None if options.logprobs is None else values_of(engine.name, answer, ids, options)
    stats.finish_reason = finish_reason(answer) if stopped is None else "stop"
    stats.last_id = time.perf_counter()
    stats.first_id = stats.first_id or stats.last_id
    stats.ids += len(ids)
    whole = with_values(CodecFrame(ids, done=False), values)
    return [whole, CodecFrame((), done=True, finish_reason=stats.finish_reason)]


def up_to_stop(ids: tuple[int, ...], stops: frozenset[int]) -> tuple[int, ...] | None:
    """Return the ids up to the first stop id, that one included; None if there is none."""
    found = next((position for position, token in enumerate(ids, 1) if token in stops), None)
    return None if found is None else ids[:found]
