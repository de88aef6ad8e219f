"""Deprecated path of `codec_agents.runtime.pause`; removed in 0.3."""

from codec_agents.runtime.pause import Pause

__all__ = ["Pause"]
