"""What the bodies of requests have in common: the model's name, and sampling in an engine's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codec_agents.engines.base import GenerationRequest, SamplingOptions

OPENAI_WORDS = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop": "stop",
    "stop_token_ids": "stop_token_ids",
}
"""OpenAI's, with the two that Codec servers, vLLM and SGLang add to them."""


def for_model(request: GenerationRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with the name of the model, where the request has one."""
    return {**body} if request.model is None else {**body, "model": request.model}


def sampling(options: SamplingOptions, words: Mapping[str, str] = OPENAI_WORDS) -> dict[str, Any]:
    """Return the options that are set, and those that the user adds as they stand.

    Args:
        options: what was asked for.
        words: what the engine calls each option; one without a word is left out.
    """
    body = {}
    for option, word in words.items():
        value = getattr(options, option)
        if value is not None and value != ():
            body[word] = value
    return {**body, **options.extra} if options.extra else body
