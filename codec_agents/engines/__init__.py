"""One inference server a file, one contract: prompt ids in, frames out."""

from codec_agents.engines.base import (
    DEFAULT_MAX_TOKENS,
    Engine,
    FrameStream,
    GenerationRequest,
    SamplingOptions,
    StreamStats,
    Timeouts,
)

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "Engine",
    "FrameStream",
    "GenerationRequest",
    "SamplingOptions",
    "StreamStats",
    "Timeouts",
]
