"""SGLang, at token level: completions with ids where the server has them, its own generate call elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar, Unpack

import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import WHOLE, GenerationRequest, StreamStats
from codec_agents.engines.checked import count, seconds
from codec_agents.engines.context import ContextQuestion, of_models
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.prompt_body import json_of
from codec_agents.engines.request_body import (
    SGLANG_COMPLETIONS,
    SGLANG_GENERATE,
    for_model,
    forms_in,
    place_options,
)
from codec_agents.engines.stock.adapters import Adapters
from codec_agents.engines.stock.engine import StockOptions, TokenizeRendering, json_request
from codec_agents.engines.stock.event_parser import EventParser, TokenIds
from codec_agents.engines.stock.handshake import ask, probe_ids
from codec_agents.engines.stock.openai_ids import CompletionEvents, completion_request
from codec_agents.engines.stock.openai_values import Span, most_probable, weight_versions
from codec_agents.engines.values import ValuesError
from codec_agents.exceptions import TRANSIENT_STATUSES, EngineError
from codec_core.exceptions import DECODE_ERRORS
from codec_core.frames import SampledValues, WeightVersion

Api = Literal["auto", "generate", "completions"]

RESERVED = 16
"""Ids of its context that the server keeps: it refuses a prompt and an answer that fill it to the last id,
and speculative decoding takes a few more."""


class SglangEngine(TokenizeRendering):
    """A stock SGLang server.

    Args:
        url: the server's origin.
        api: `completions` is `/v1/completions` with `return_token_ids`; `generate` is `/generate`, which by
            the server's default repeats all ids in every event; `auto` asks once whether the first is there.
        options: those of every stock engine.
    """

    provider = "sglang"
    logprob_mode = "temperature"
    enforced_forms = forms_in(SGLANG_COMPLETIONS, SGLANG_GENERATE)
    unstreamed = True
    least_ids = 0
    whole_answers = True
    caches_prompts = True

    def __init__(self, url: str, *, api: Api = "auto", **options: Unpack[StockOptions]) -> None:
        super().__init__(url, **options)
        self._api = api
        self._completes: bool | None = None if api == "auto" else api == "completions"
        self.reports_cached_ids = api == "generate"
        self._asked: SingleFlight[bool] = SingleFlight()
        self._adapters = Adapters()

    def _context_question(self) -> ContextQuestion:
        return ContextQuestion("/v1/models", of_models, spare=RESERVED)

    async def check(self, request: GenerationRequest) -> None:
        """Compare the tokenizers, and find out which call gives ids and which adapter is meant.

        Raises:
            EngineError: the tokenizers disagree, or the engine cannot be asked.
        """
        await super().check(request)
        await self._adapters.find(self, request)
        if self._completes is None:
            self._completes = await self.ask_once(self._asked, lambda: self._gives_ids(request), request)

    async def _gives_ids(self, request: GenerationRequest) -> bool:
        """Generate one id and see whether it comes back as an id.

        Raises:
            EngineStatusError: the engine failed, so what it can do is still unknown.
        """
        body = {"prompt": probe_ids(request.vocabulary), "max_tokens": 1, "return_token_ids": True}
        status, answer = await ask(
            self, "POST", "/v1/completions", for_model(request, body), request.timeouts
        )
        if status in TRANSIENT_STATUSES:
            raise self.status_error(status, answer, "/v1/completions")
        try:
            return status == 200 and bool(msgspec.json.decode(answer)["choices"][0].get("token_ids"))
        except (*DECODE_ERRORS, LookupError, AttributeError, TypeError):
            return False  # no ids in any case; the answer of `/generate` then tells what the server is

    def _asks_completions(self, request: GenerationRequest) -> bool:
        """Return which call a request is sent by.

        Completions name no ids with their log probabilities, and have no form for reading a prompt alone.
        """
        if request.options.max_tokens == 0:
            return False
        return bool(self._completes) and (request.options.logprobs is None or self._api == "completions")

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        adapter = self._adapters.of(request)
        lora = {} if adapter is None else {"lora_path": adapter}
        if self._asks_completions(request):
            if request.options.logprobs:
                raise EngineError(
                    self.name,
                    "its completions give alternatives as texts, which do not tell their ids; declare it "
                    "with `api: generate`",
                )
            return completion_request(self.name, request, SGLANG_COMPLETIONS, also=lora)
        body = {**generate_body(request), **lora}
        headers = place_options(self.name, request.options, SGLANG_GENERATE, body)
        return json_request("/generate", body, **headers)

    def _events(self, request: GenerationRequest, stats: StreamStats) -> EventParser[Any]:
        if self._asks_completions(request):
            return CompletionEvents(self.name, request, stats)
        options = request.options
        return GenerateEvents(self.name, stats, top=options.logprobs, valued=options.valued_ids)


def generate_body(request: GenerationRequest) -> dict[str, Any]:
    """Return the body of `/generate`. Its sampling parameters refuse every unknown key.

    The server does not read the name of the model, and SGLang's router finds the server by it.
    """
    interval = {"stream_interval": request.stream_interval} if request.stream_interval > 1 else {}
    body = {
        "input_ids": json_of(request.prompt_ids),
        "sampling_params": interval,
        "stream": request.stream_interval != WHOLE,
    }
    return for_model(request, body)


class FinishReason(msgspec.Struct):
    """Why a generation ended."""

    type: str
    matched: int | str | list[int] | None = None
    message: str | None = None
    status_code: int | None = None


class MetaInfo(msgspec.Struct):
    """The counts of an event."""

    completion_tokens: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    queue_time: float | None = None
    """Seconds; this and the following with `--enable-metrics`."""
    forward_entry_time: float | None = None
    prefill_finished_time: float | None = None
    first_token_latency: float | None = None
    finish_reason: FinishReason | None = None


Logprob = tuple[float | None, int, str | None]
"""A log probability, its id, and the id's text where it is asked for."""


class ValuedMetaInfo(MetaInfo):
    """The counts of an event whose values were asked for; lists repeat what came before where ids do."""

    output_token_logprobs: list[Logprob] = []
    output_top_logprobs: list[list[Logprob] | None] = []
    output_token_ids_logprobs: list[list[Logprob] | None] = []
    output_token_sampling_mask: list[TokenIds] = []
    weight_version: str | None = None
    weight_versions: list[Span] | None = None
    routed_experts: str | None = None


AnyMeta = TypeVar("AnyMeta", bound=MetaInfo)


class Generated(msgspec.Struct, Generic[AnyMeta]):
    """One event of `/generate`."""

    output_ids: TokenIds = ()
    meta_info: AnyMeta | None = None
    index: int = 0
    error: Any = None


class GenerateEvents(EventParser[Generated[Any]]):
    """Reads the events of `/generate`, cumulative or not: the engine's own count shows which.

    `completion_tokens` is always the sum. Ids that add up to it are new; as many ids as the sum are all of
    them. Anything else is a loss, or the repeated last id of an aborted stream.
    """

    def __init__(
        self, engine: str, stats: StreamStats, *, top: int | None = None, valued: Sequence[int] = ()
    ) -> None:
        super().__init__(engine, stats, Generated[MetaInfo] if top is None else Generated[ValuedMetaInfo])
        self._ids: list[int] = []
        self._top = top
        self._valued = valued

    def read(self, event: Generated[Any]) -> tuple[int, ...]:
        """Return the ids that were not there before."""
        if event.error is not None:
            raise self.reported(event.error)
        # Unlike counts that do not add up, which are of one stream, it is how the server answers: another
        # attempt would end in the same way, as with an event that cannot be decoded.
        if event.meta_info is None or event.index != 0:
            raise self.broken("an event without counts, or of another generation", transient=False)
        new = self._new_ids(event.output_ids, event.meta_info.completion_tokens)
        self._ids += new
        # Before the values: an abort, or an id put in the place of one that the model did not draw, is an
        # error that another attempt may mend. Values that do not fit such an id are one that it would not.
        self._note(event.meta_info)
        if self._top is not None:
            self._read_values(event.meta_info, new, self._top)
        return new

    def _read_values(self, meta: ValuedMetaInfo, new: Sequence[int], top: int) -> None:
        if new:
            # From the end: a cumulative server repeats the values of earlier ids as well.
            logprobs = meta.output_token_logprobs[-len(new) :]
            if [token for _, token, _ in logprobs] != list(new):
                raise ValuesError(
                    self.engine, "a log probability is missing, or of another id", delivered=self.received
                )
            others, most = meta.output_top_logprobs, top
            if self._valued:
                others, most = meta.output_token_ids_logprobs, len(self._valued)
            tops = others[-len(new) :] if most else []
            self.values = SampledValues(
                tuple(_number(logprob) for logprob, _, _ in logprobs),
                tuple(
                    most_probable(((token, _number(logprob)) for logprob, token, _ in each or ()), most)
                    for each in tops
                ),
            )
        if meta.finish_reason is not None:  # these are of the whole answer, and complete at its end
            versions = weight_versions(meta.weight_versions)
            if not versions and meta.weight_version is not None:  # no change while it answered
                versions = (WeightVersion(meta.weight_version, 0, len(self._ids)),)
            self.values_of_all = SampledValues(
                sampling_mask=tuple(meta.output_token_sampling_mask),
                weight_versions=versions,
                routed_experts=meta.routed_experts,
            )

    def _new_ids(self, ids: tuple[int, ...], total: int) -> tuple[int, ...]:
        seen = len(self._ids)
        # Of a first event, this and the next case hold, and mean the same.
        if seen + len(ids) == total:
            return ids
        if len(ids) == total >= seen and list(ids[:seen]) == self._ids:
            return ids[seen:]
        repeated = seen + len(ids) - total
        if total >= seen and 0 < repeated <= len(ids) and list(ids[:repeated]) == self._ids[-repeated:]:
            return ids[repeated:]
        raise self.broken(f"the engine counts {total} ids; {seen} and then {len(ids)} came")

    def _note_times(self, meta: MetaInfo) -> None:
        if meta.queue_time is not None:
            self.stats.engine_queue = seconds(meta.queue_time)
        if meta.first_token_latency is not None:
            self.stats.engine_seconds = seconds(meta.first_token_latency)
        if meta.forward_entry_time is not None and meta.prefill_finished_time is not None:
            took = max(0.0, meta.prefill_finished_time - meta.forward_entry_time)
            self.stats.engine_prefill = seconds(took)

    def _note(self, meta: MetaInfo) -> None:
        if meta.prompt_tokens is not None:
            self.stats.prompt_tokens = count(meta.prompt_tokens)
        if meta.cached_tokens is not None:
            self.stats.cached_tokens = count(meta.cached_tokens)
        self._note_times(meta)
        finish = meta.finish_reason
        if finish is None:
            return
        if finish.type == "abort":
            transient = finish.status_code is None or finish.status_code in TRANSIENT_STATUSES
            raise self.broken(
                f"the engine aborted: {finish.message or 'no reason given'}", transient=transient
            )
        # SGLang puts an EOS id in the place of the one that it could not draw.
        if finish.matched == "NaN happened":
            raise self.broken("the engine computed NaN; the last id does not come from the model")
        is_text = finish.type == "stop" and isinstance(finish.matched, str)
        self.reason = "stop_sequence" if is_text else finish.type


def _number(logprob: float | None) -> float:
    """Return a log probability. JSON has no minus infinity, and null stands for it."""
    return -math.inf if logprob is None else logprob
