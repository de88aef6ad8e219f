"""A model whose answers come from a script: in this process, without a server, and fast.

`ScriptedModel` is the model; `ScriptedEngine` makes an engine of it without a wire, and
`codec_agents.server` serves the same model over real HTTP.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Self

import anyio

from codec_agents.concurrency.event_loop import checkpoint, clock
from codec_agents.engines.base import (
    FAILED_REASONS,
    GenerationRequest,
    SamplingOptions,
    StreamStats,
    failed_answer,
)
from codec_agents.engines.prompt_body import check_prompt
from codec_agents.engines.scripted.prefix_cache import PrefixCache, PromptReading
from codec_agents.engines.scripted.prompt_view import PromptView
from codec_agents.engines.scripted.script import EncodedTurn, Script, ScriptError, encode_turn
from codec_agents.exceptions import EngineStatusError, EngineStreamError
from codec_core.frames import CodecFrame, SampledValues, WeightVersion
from codec_core.frames.values import with_values
from codec_core.vocabulary import Vocabulary

FRAMES_A_CHECKPOINT = 16
"""Unpaced, other tasks may run after so many frames; a checkpoint each would cost more than the frames."""


class CutOffError(Exception):
    """The script breaks the answer off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedModel:
    """A script, and how fast and in which portions it speaks. It speaks whatever vocabulary it is asked in.

    Attributes:
        script: decides on each turn.
        ids_a_second: its pace; None for as fast as it is read.
        ids_a_frame: the number of ids per frame; a pair draws a number between the two, ends included.
        first_id_after: seconds before the first id, whatever the prompt is.
        seed: makes the drawn numbers the same each time.
        seconds_a_prompt_id: what reading a prompt costs, for each id of it.
        prefix_cache: whether ids that stood at the beginning of an earlier prompt cost nothing.
        logprob: the log probability of every id, or a function that returns that of an id; by itself 0.0,
            since a script is sure of what it says.
        weight_version: the version of the weights that an answer names.
    """

    script: Script
    ids_a_second: float | None = None
    ids_a_frame: int | tuple[int, int] = 1
    first_id_after: float = 0.0
    seed: int = 0
    seconds_a_prompt_id: float = 0.0
    prefix_cache: bool = False
    logprob: float | Callable[[int], float] = 0.0
    weight_version: str | None = None

    def turn(
        self,
        prompt_ids: Sequence[int],
        vocabulary: Vocabulary,
        options: SamplingOptions,
        model: str | None = None,
        continued: int = 0,
    ) -> EncodedTurn:
        """Return the turn that follows a prompt, within the options' limits.

        Where the prompt ends with the beginning of that very turn, its rest is returned, as any model would
        continue. A script that writes something else there is taken to have written the continuation itself.

        Args:
            prompt_ids: the prompt.
            vocabulary: its vocabulary.
            options: what bounds the turn.
            model: the requested name.
            continued: how many of the prompt's last ids are the beginning of the turn; 0 where that is not
                known, and then the prompt is read for it.

        Raises:
            ScriptError: the script has no answer, or the vocabulary cannot express it.
        """
        # The script sees the prompt without the answer's beginning, and so decides as it did the first time.
        begun = len(prompt_ids) - continued
        prompt = PromptView(prompt_ids[:begun] if continued else prompt_ids, vocabulary, model)
        turn = encode_turn(self.script(prompt), vocabulary, prompt)
        return _limited(turn.after(_begun(turn, prompt_ids, prompt, continued)), options)

    def cache(self) -> PrefixCache | None:
        """Return a prefix cache for the server of the model; None if the model has none."""
        return PrefixCache() if self.prefix_cache else None

    def reading(
        self, prompt_ids: Sequence[int], cache: PrefixCache | None, space: Hashable = None
    ) -> PromptReading:
        """Return the reading of a prompt, by which the frames of its turn begin."""
        return PromptReading(prompt_ids, self.seconds_a_prompt_id, cache, space)

    async def frames(
        self,
        turn: EncodedTurn,
        reading: PromptReading | None = None,
        options: SamplingOptions | None = None,
    ) -> AsyncGenerator[CodecFrame, None]:
        """Yield the frames of a turn when they are due; being read late does not shift those that follow.

        Where the options ask for log probabilities, the frames have those of the model.

        Raises:
            CutOffError: the script breaks the turn off.
        """
        if reading is not None:
            await reading.finish()
        now, valued = clock(), None if options is None or options.logprobs is None else options
        pace = 1 / self.ids_a_second if self.ids_a_second else 0.0
        timed = bool(pace or self.first_id_after or turn.waits)  # else no clock is read
        due = now() + self.first_id_after if timed else 0.0
        for number, (start, stop) in enumerate(self._portions(turn)):
            if timed:
                due += turn.waits.get(start, 0.0) + pace * (stop - start)
            # Instants and not pauses: what a slow reader delays is caught up.
            if timed and due > now():
                await anyio.sleep_until(due)
            elif number % FRAMES_A_CHECKPOINT == 0:
                await checkpoint()
            if stop > start:
                frame = CodecFrame(tuple(turn.ids[start:stop]), done=False)
                yield frame if valued is None else with_values(frame, self._values(frame.ids, valued))
        if turn.finish_reason is None:
            raise CutOffError
        end = CodecFrame((), done=True, finish_reason=turn.finish_reason)
        versioned = valued is not None and self.weight_version is not None
        yield with_values(end, self._version(len(turn.ids))) if versioned else end

    def _values(self, ids: Sequence[int], options: SamplingOptions) -> SampledValues:
        of = self.logprob
        logprobs = tuple(float(of(token)) if callable(of) else of for token in ids)
        top = tuple((pair,) for pair in zip(ids, logprobs, strict=True)) if options.logprobs else ()
        return SampledValues(logprobs, top)

    def _version(self, ids: int) -> SampledValues:
        return SampledValues(weight_versions=(WeightVersion(self.weight_version or "", 0, ids),))

    def _portions(self, turn: EncodedTurn) -> Iterator[tuple[int, int]]:
        """Cut the turn into frames; a pause always begins a new one."""
        sizes = _frame_sizes(self.ids_a_frame, self.seed)
        start, end = 0, len(turn.ids)
        while start < end:
            stop = min(start + next(sizes), end)
            if turn.waits:
                stop = min((stop, *(at for at in turn.waits if at > start)))
            yield start, stop
            start = stop
        if end in turn.waits:
            yield end, end  # a pause behind the last id, before the end


def _begun(turn: EncodedTurn, prompt_ids: Sequence[int], prompt: PromptView, continued: int) -> int:
    """Return how many ids of a turn the prompt holds already."""
    if continued:
        return continued if list(prompt_ids[-continued:]) == turn.ids[:continued] else 0
    if not prompt_ids or prompt_ids[-1] not in turn.ids:  # nearly every prompt
        return 0
    first, last = turn.ids[0], prompt_ids[-1]
    # Comparing both ends first keeps this linear for any but the most repetitive prompts.
    ends = (
        end
        for end in range(min(len(turn.ids), len(prompt_ids)), 0, -1)
        if turn.ids[end - 1] == last and prompt_ids[-end] == first
    )
    found = next((end for end in ends if list(prompt_ids[-end:]) == turn.ids[:end]), 0)
    # The end of a prompt may look like the beginning of the answer, a line feed for one: only an answer that
    # the prompt has begun is continued.
    return found if found and prompt.unfinished else 0


def _frame_sizes(ids_a_frame: int | tuple[int, int], seed: int) -> Iterator[int]:
    low, high = (ids_a_frame, ids_a_frame) if isinstance(ids_a_frame, int) else ids_a_frame
    if not 1 <= low <= high:
        raise ScriptError(f"ids_a_frame must be at least 1, not {ids_a_frame!r}")
    if low == high:
        yield from repeat(low)
    draw = random.Random(seed)  # noqa: S311 - reproducible cuts, nothing secret
    while True:
        yield draw.randint(low, high)


def _limited(turn: EncodedTurn, options: SamplingOptions) -> EncodedTurn:
    """Stop at the caller's limits; the stop id itself is part of the answer."""
    stops = set(options.stop_token_ids)
    for position, token in enumerate(turn.ids[: options.max_tokens]):  # a stop id behind the limit is none
        if token in stops:
            return turn.until(position + 1, "stop")
    return turn.until(options.max_tokens, "length") if len(turn.ids) > options.max_tokens else turn


REQUESTS_KEPT = 1024
"""Requests that a scripted engine keeps for its tests; a batch of a million runs must not keep all."""


class ScriptedEngine:
    """An engine without a wire: a scripted model in this process. It speaks each request's own vocabulary."""

    provider = "scripted"
    continues = True
    logprob_mode = "processed"
    checks_answers = True

    def __init__(
        self,
        model: ScriptedModel | Script,
        *,
        name: str = "scripted",
        requests_kept: int = REQUESTS_KEPT,
    ) -> None:
        self.name = name
        self._requests_kept = requests_kept
        self.model = model if isinstance(model, ScriptedModel) else ScriptedModel(script=model)
        self.requests: list[GenerationRequest] = []
        """The requests seen, in order: at least the last `requests_kept`."""
        self.open_streams = 0
        self._cache = self.model.cache()

    def stream(self, request: GenerationRequest) -> _ScriptedStream:
        """Start a turn when the context is entered; leaving it ends the turn."""
        return _ScriptedStream(self, request)

    def begin(self, request: GenerationRequest, stats: StreamStats) -> AsyncGenerator[CodecFrame, None]:
        """Ask the model; return the frames of its answer.

        Raises:
            EngineError: the prompt cannot be sent, or the script refuses.
        """
        check_prompt(self.name, request)
        if len(self.requests) >= 2 * self._requests_kept:  # seldom: dropping one each time is slower
            del self.requests[: self._requests_kept]
        self.requests.append(request)
        stats.request_started = time.perf_counter()
        stats.prompt_tokens = len(request.prompt_ids)
        turn = self._turn(request)
        reading = self.model.reading(request.prompt_ids, self._cache, (request.vocabulary.id, request.model))
        stats.cached_tokens = reading.cached
        stats.request_sent = time.perf_counter()
        return self.model.frames(turn, reading, request.options)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    def _turn(self, request: GenerationRequest) -> EncodedTurn:
        turn = self.model.turn(
            request.prompt_ids, request.vocabulary, request.options, request.model, request.continued
        )
        if turn.refusal is not None:
            raise EngineStatusError(self.name, turn.refusal.status, turn.refusal.message)
        return turn


class _ScriptedStream:
    """One answer, read while the context is open."""

    __slots__ = ("_engine", "_frames", "_request", "stats")

    _frames: AsyncGenerator[CodecFrame, None]

    def __init__(self, engine: ScriptedEngine, request: GenerationRequest) -> None:
        self.stats = StreamStats(format="ids")
        self._engine = engine
        self._request = request

    async def __aenter__(self) -> Self:
        self._frames = self._engine.begin(self._request, self.stats)
        self._engine.open_streams += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._engine.open_streams -= 1
        await self._frames.aclose()

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        try:
            frame = await anext(self._frames)
        except CutOffError as cut:
            message = "the script breaks the answer off"
            raise EngineStreamError(self._engine.name, message, delivered=self.stats.ids) from cut
        stats = self.stats
        if frame.ids:
            stats.last_id = time.perf_counter()
            stats.first_id = stats.first_id or stats.last_id
            stats.ids += len(frame.ids)
        if frame.done:
            stats.finish_reason = frame.finish_reason
            if frame.finish_reason in FAILED_REASONS:
                raise failed_answer(self._engine.name, frame.finish_reason, stats.ids)
        return frame
