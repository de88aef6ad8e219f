"""vLLM, at token level: its own generate call where the server has it, completions with ids elsewhere."""

from __future__ import annotations

from typing import Any, Literal, Unpack

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.context import ContextQuestion, of_models
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.prompt_body import json_of
from codec_agents.engines.request_body import (
    VLLM_COMPLETIONS,
    VLLM_GENERATE,
    for_model,
    forms_in,
    place_options,
)
from codec_agents.engines.stock.engine import StockOptions, TokenizeRendering, json_request
from codec_agents.engines.stock.handshake import ask, probe_ids
from codec_agents.engines.stock.openai_ids import CompletionEvents, completion_request, streaming
from codec_agents.exceptions import TRANSIENT_STATUSES

GENERATE = "/inference/v1/generate"
Api = Literal["auto", "generate", "completions"]


class VllmEngine(TokenizeRendering):
    """A stock vLLM server.

    Args:
        url: the server's origin.
        api: `generate` is `/inference/v1/generate`, where ids go in and out without detokenizing;
            `completions` is `/v1/completions` with `return_token_ids`; `auto` asks once for one id whether
            the first is there.
        options: those of every stock engine.
    """

    provider = "vllm"
    logprob_mode = "raw"
    enforced_forms = forms_in(VLLM_COMPLETIONS, VLLM_GENERATE)
    unstreamed = True
    whole_answers = True
    caches_prompts = True

    def __init__(self, url: str, *, api: Api = "auto", **options: Unpack[StockOptions]) -> None:
        super().__init__(url, **options)
        self._generates: bool | None = None if api == "auto" else api == "generate"
        self._asked: SingleFlight[bool] = SingleFlight()

    def _context_question(self) -> ContextQuestion:
        return ContextQuestion("/v1/models", of_models)

    async def check(self, request: GenerationRequest) -> None:
        """Compare the tokenizers, and find out which call to use.

        Raises:
            EngineError: the tokenizers disagree, or the engine cannot be asked.
        """
        await super().check(request)
        if self._generates is None:
            self._generates = await self.ask_once(self._asked, lambda: self._has_generate(request), request)

    async def _has_generate(self, request: GenerationRequest) -> bool:
        """Ask for one id. Some servers have the call switched off; old ones have it, and do not stream it.

        Raises:
            EngineStatusError: the engine failed, so what it can do is still unknown.
        """
        body = {
            "token_ids": probe_ids(request.vocabulary),
            "sampling_params": {"max_tokens": 1, "detokenize": False},
            "stream": True,
        }
        status, answer = await ask(self, "POST", GENERATE, for_model(request, body), request.timeouts)
        if status in TRANSIENT_STATUSES:
            raise self.status_error(status, answer, GENERATE)
        return status == 200 and not answer.lstrip().startswith(b"{")  # JSON: it was not streamed

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        if self._generates:
            body = generate_body(request)
            headers = place_options(self.name, request.options, VLLM_GENERATE, body)
            return json_request(GENERATE, body, **headers)
        return completion_request(self.name, request, VLLM_COMPLETIONS, also=gathering(request))

    def _events(self, request: GenerationRequest, stats: StreamStats) -> CompletionEvents:
        return CompletionEvents(self.name, request, stats)


def gathering(request: GenerationRequest) -> dict[str, Any]:
    """Return the field for several ids per event, where the request wants that."""
    return {"stream_interval": request.stream_interval} if request.stream_interval > 1 else {}


def generate_body(request: GenerationRequest) -> dict[str, Any]:
    """Return the body of the generate call; it takes stop texts only when it detokenizes."""
    params = {"detokenize": bool(request.options.stop), **gathering(request)}
    body = {
        "token_ids": json_of(request.prompt_ids),
        "sampling_params": params,
        **streaming(request),
    }
    return for_model(request, body)
