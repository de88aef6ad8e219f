"""SGLang, at token level: completions with ids where the server has them, its own generate call elsewhere."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.http.stream import FrameParser
from codec_agents.engines.prompt_body import json_of
from codec_agents.engines.request_body import SGLANG_COMPLETIONS, SGLANG_GENERATE, for_model, place_options
from codec_agents.engines.stock.engine import StockOptions, TokenizeRendering, json_request
from codec_agents.engines.stock.event_parser import EventParser, TokenIds
from codec_agents.engines.stock.handshake import ask, probe_ids
from codec_agents.engines.stock.openai_ids import CompletionEvents, completion_request
from codec_agents.exceptions import TRANSIENT_STATUSES

Api = Literal["auto", "generate", "completions"]


class SglangEngine(TokenizeRendering):
    """A stock SGLang server.

    Args:
        url: the server's origin.
        api: `completions` is `/v1/completions` with `return_token_ids`; `generate` is `/generate`, which by
            the server's default repeats all ids in every event; `auto` asks once whether the first is there.
        options: those of every stock engine.
    """

    provider = "sglang"

    def __init__(self, url: str, *, api: Api = "auto", **options: Unpack[StockOptions]) -> None:
        super().__init__(url, **options)
        self._completes: bool | None = None if api == "auto" else api == "completions"
        self._asked: SingleFlight[bool] = SingleFlight()

    async def check(self, request: GenerationRequest) -> None:
        """Compare the tokenizers, and find out which call gives ids.

        Raises:
            EngineError: the tokenizers disagree, or the engine cannot be asked.
        """
        await super().check(request)
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
        except (msgspec.DecodeError, LookupError, AttributeError, TypeError):
            return False

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        if self._completes:
            return completion_request(self.name, request, SGLANG_COMPLETIONS)
        body = generate_body(request)
        headers = place_options(self.name, request.options, SGLANG_GENERATE, body)
        return json_request("/generate", body, **headers)

    def _events(self, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        if self._completes:
            return CompletionEvents(self.name, request, stats)
        return GenerateEvents(self.name, stats)


def generate_body(request: GenerationRequest) -> dict[str, Any]:
    """Return the body of `/generate`, whose sampling parameters refuse every unknown key."""
    return {
        "input_ids": json_of(request.prompt_ids),
        "sampling_params": {},
        "stream": True,
    }


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
    finish_reason: FinishReason | None = None


class Generated(msgspec.Struct):
    """One event of `/generate`."""

    output_ids: TokenIds = ()
    meta_info: MetaInfo | None = None
    index: int = 0
    error: Any = None


class GenerateEvents(EventParser[Generated]):
    """Reads the events of `/generate`, cumulative or not: the engine's own count shows which.

    `completion_tokens` is always the sum. Ids that add up to it are new; as many ids as the sum are all of
    them. Anything else is a loss, or the repeated last id of an aborted stream.
    """

    def __init__(self, engine: str, stats: StreamStats) -> None:
        super().__init__(engine, stats, Generated)
        self._ids: list[int] = []

    def read(self, event: Generated) -> tuple[int, ...]:
        """Return the ids that were not there before."""
        if event.error is not None:
            raise self.reported(event.error)
        if event.meta_info is None or event.index != 0:
            raise self.broken("an event without counts, or of another generation", transient=False)
        new = self._new_ids(event.output_ids, event.meta_info.completion_tokens)
        self._ids += new
        self._note(event.meta_info)
        return new

    def _new_ids(self, ids: tuple[int, ...], total: int) -> tuple[int, ...]:
        seen = len(self._ids)
        if seen + len(ids) == total:
            return ids
        if len(ids) == total >= seen and list(ids[:seen]) == self._ids:
            return ids[seen:]
        repeated = seen + len(ids) - total
        if total >= seen and 0 < repeated <= len(ids) and list(ids[:repeated]) == self._ids[-repeated:]:
            return ids[repeated:]
        raise self.broken(f"the engine counts {total} ids; {seen} and then {len(ids)} came")

    def _note(self, meta: MetaInfo) -> None:
        if meta.prompt_tokens is not None:
            self.stats.prompt_tokens = meta.prompt_tokens
        if meta.cached_tokens is not None:
            self.stats.cached_tokens = meta.cached_tokens
        finish = meta.finish_reason
        if finish is None:
            return
        if finish.type == "abort":
            transient = finish.status_code is None or finish.status_code in TRANSIENT_STATUSES
            raise self.broken(
                f"the engine aborted: {finish.message or 'no reason given'}", transient=transient
            )
        if finish.matched == "NaN happened":
            raise self.broken("the engine computed NaN; the last id does not come from the model")
        is_text = finish.type == "stop" and isinstance(finish.matched, str)
        self.reason = "stop_sequence" if is_text else finish.type
