"""`/v1/completions` with `return_token_ids`: text completions that also carry their ids.

vLLM and SGLang write the same events. The text in them is not aligned with the ids and is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from codec_agents.engines.base import WHOLE, GenerationRequest, StreamStats
from codec_agents.engines.checked import count, seconds
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.prompt_body import json_of
from codec_agents.engines.request_body import Table, for_model, place_options
from codec_agents.engines.stock.engine import json_request
from codec_agents.engines.stock.event_parser import EventParser, IdsMissingError, TokenIds
from codec_agents.engines.stock.openai_values import (
    ChoiceLogprobs,
    Span,
    ValuesMismatchError,
    values_of_ids,
    weight_versions,
)
from codec_agents.engines.values import ValuesError
from codec_core.frames import SampledValues

AnyChoice = TypeVar("AnyChoice")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class PromptDetails(msgspec.Struct):
    """Part of `usage`."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """OpenAI's counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Metrics(msgspec.Struct):
    """vLLM's times of one request, with `--enable-per-request-metrics`; milliseconds."""

    queue_time_ms: float | None = None
    time_to_first_token_ms: float | None = None
    """From leaving the queue to the first id."""


class Choice(msgspec.Struct):
    """One choice of an event, or of a whole answer."""

    index: int = 0
    text: str | None = None
    token_ids: TokenIds | msgspec.UnsetType | None = msgspec.UNSET
    prompt_token_ids: TokenIds | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    matched_stop: int | str | None = None


class ValuedChoice(Choice):
    """A choice whose values were asked for; a type of its own, so that other answers do not pay for it."""

    logprobs: ChoiceLogprobs | None = None
    weight_versions: list[Span] | None = None
    routed_experts: str | None = None
    sampling_mask: tuple[TokenIds, ...] | None = None


class Completion(msgspec.Struct, Generic[AnyChoice]):
    """One event, or a whole answer."""

    choices: list[AnyChoice] = []
    usage: Usage | None = None
    prompt_token_ids: TokenIds | None = None
    metrics: Metrics | None = None
    error: Any = None


class CompletionEvents(EventParser[Completion[Any]]):
    """Reads the events of one generation."""

    def __init__(self, engine: str, request: GenerationRequest, stats: StreamStats) -> None:
        top = request.options.logprobs
        super().__init__(engine, stats, Completion[Choice] if top is None else Completion[ValuedChoice])
        self._top = top
        self._valued = request.options.valued_ids
        self._prompt = request.prompt_ids
        self._exact_count = not request.options.stop
        """With stop texts, engines trim surplus ids and count them all the same."""
        self._reported: int | None = None
        self._ids_seen = False

    def read(self, event: Completion[Any]) -> tuple[int, ...]:
        """Return the new ids; a chunk may hold none, one, or many."""
        if event.error is not None:
            raise self.reported(event.error)
        if event.usage is not None:
            self._count(event.usage)
        if event.metrics is not None:
            _note_times(self.stats, event.metrics)
        self._check_prompt(event.prompt_token_ids)
        ids: tuple[int, ...] = ()
        for choice in event.choices:
            if choice.index != 0:  # its ids would be taken for the answer's
                raise self.broken(f"an unrequested choice {choice.index}", transient=False)
            ids += self._read_choice(choice)
        return ids

    def _read_choice(self, choice: Any) -> tuple[int, ...]:
        self._check_prompt(choice.prompt_token_ids)
        # vLLM leaves out what it was not asked for, and sends null or [] in a chunk without new ids.
        self._ids_seen = self._ids_seen or choice.token_ids is not msgspec.UNSET
        if not self._ids_seen and (choice.text or choice.finish_reason):
            raise IdsMissingError(
                self.engine,
                "the answer has text and no token_ids; the engine is too old for return_token_ids",
                transient=False,
            )
        if choice.finish_reason is not None:
            self.reason = finish_reason(choice)
        if self._top is not None:
            self._read_values(choice, self._top)
        return choice.token_ids or ()

    def _read_values(self, choice: ValuedChoice, top: int) -> None:
        if choice.logprobs is not None:
            try:
                self.values = values_of_ids(choice.logprobs, choice.token_ids or (), top, self._valued)
            except ValuesMismatchError as error:
                raise ValuesError(self.engine, str(error), delivered=self.received) from error
        if choice.weight_versions or choice.routed_experts is not None or choice.sampling_mask:
            self.values_of_all = SampledValues(
                sampling_mask=choice.sampling_mask or (),
                weight_versions=weight_versions(choice.weight_versions),
                routed_experts=choice.routed_experts,
            )

    def _check_prompt(self, echoed: Sequence[int] | None) -> None:
        # A server that truncates, or adds a BOS, would answer something else without a word.
        if echoed and list(echoed) != list(self._prompt):
            raise self.broken("the engine generates from another prompt than the one sent", transient=False)

    def _count(self, usage: Usage) -> None:
        if usage.prompt_tokens is not None:
            self.stats.prompt_tokens = count(usage.prompt_tokens)
        if usage.prompt_tokens_details is not None:
            self.stats.cached_tokens = count(usage.prompt_tokens_details.cached_tokens)
        self._reported = usage.completion_tokens

    def check_counts(self) -> None:
        """Compare with the engine's own count."""
        if self._exact_count and self._reported is not None and self._reported != self.received:
            # Which of them are missing is not known, so nothing can continue from those that came.
            raise self.broken(
                f"the engine counts {self._reported} ids and sent {self.received}", transient=False
            )


def _note_times(stats: StreamStats, metrics: Metrics) -> None:
    queue, prefill = _seconds(metrics.queue_time_ms), _seconds(metrics.time_to_first_token_ms)
    stats.engine_queue, stats.engine_prefill = queue, prefill
    if queue is not None and prefill is not None:
        stats.engine_seconds = queue + prefill


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else seconds(milliseconds / 1000)


def finish_reason(choice: Choice) -> str:
    """Return Codec's word for why a choice ended; unknown words are passed on."""
    matched = choice.stop_reason if choice.stop_reason is not None else choice.matched_stop
    if choice.finish_reason == "stop" and isinstance(matched, str):
        return "stop_sequence"
    return choice.finish_reason or "stop"


def streaming(request: GenerationRequest) -> dict[str, Any]:
    """Return the fields of a body for a stream and its counts; a whole answer has its counts anyway."""
    if request.stream_interval == WHOLE:
        return {"stream": False}
    return {"stream": True, "stream_options": {"include_usage": True}}


def completion_request(
    engine: str,
    request: GenerationRequest,
    table: Table,
    *,
    also: Mapping[str, Any] = _NOTHING,
    **headers: str,
) -> Outgoing:
    """Return the request for ids.

    Args:
        engine: the engine's name, for errors.
        request: what is asked.
        table: the places of the API's options.
        also: further fields of the body.
        headers: further headers.

    Raises:
        EngineError: the API has no such sampling option.
    """
    body = {
        "prompt": json_of(request.prompt_ids),
        "return_token_ids": True,
        **streaming(request),
    }
    placed = place_options(engine, request.options, table, body)
    return json_request("/v1/completions", for_model(request, {**body, **also}), **placed, **headers)
