"""vLLM, at token level: its own generate call where the server has it, completions with ids elsewhere."""

from __future__ import annotations

from typing import Any, Literal, Unpack

from codec_agents.engines.base import GenerationRequest, SamplingOptions, StreamStats
from codec_agents.engines.bodies import for_model, sampling
from codec_agents.engines.http_engine import Outgoing
from codec_agents.engines.http_stream import Deadlines, FrameParser
from codec_agents.engines.openai_ids import CompletionEvents, completion_body
from codec_agents.engines.responses import HttpResponse
from codec_agents.engines.stock import StockOptions, TokenizeRendering, json_request
from codec_agents.engines.written import json_of
from codec_agents.exceptions import EngineStatusError

GENERATE = "/inference/v1/generate"
COMPLETIONS = "/v1/completions"
NOT_ENABLED = frozenset({403, 404, 405, 501})
"""Answers of a server that does not have the generate call, or has it switched off."""

Api = Literal["auto", "generate", "completions"]


class VllmEngine(TokenizeRendering):
    """A stock vLLM server.

    Args:
        url: the server's origin.
        api: `generate` is `/inference/v1/generate`, where ids go in and out without detokenizing;
            `completions` is `/v1/completions` with `return_token_ids`; `auto` tries the first once, and
            remembers.
        options: those of every stock engine.
    """

    provider = "vllm"

    def __init__(self, url: str, *, api: Api = "auto", **options: Unpack[StockOptions]) -> None:
        super().__init__(url, **options)
        self._api = api
        self._generates = api != "completions"

    async def _begin(
        self, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> tuple[HttpResponse, FrameParser]:
        try:
            return await super()._begin(request, stats, deadlines)
        except EngineStatusError as error:
            if self._api != "auto" or not self._generates or error.status not in NOT_ENABLED:
                raise
        self._generates = False
        return await super()._begin(request, stats, deadlines)

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        if self._generates:
            return json_request(GENERATE, generate_body(request))
        return json_request(COMPLETIONS, completion_body(request))

    def _events(self, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        return CompletionEvents(self.name, request, stats)


def generate_body(request: GenerationRequest) -> dict[str, Any]:
    """Return the body of the generate call; it takes stop texts only when it detokenizes."""
    body = {
        "token_ids": json_of(request.prompt_ids),
        "sampling_params": sampling_params(request.options),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return for_model(request, body)


def sampling_params(options: SamplingOptions) -> dict[str, Any]:
    """Return vLLM's own sampling parameters."""
    return {"detokenize": bool(options.stop), **sampling(options)}
