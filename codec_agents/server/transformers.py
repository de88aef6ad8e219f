"""Deprecated path of `codec_agents.server.backends.transformers`; removed in 0.3."""

from codec_agents.server.backends.transformers import TransformersBackend

__all__ = ["TransformersBackend"]
