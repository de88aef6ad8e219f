"""Deprecated path of `codec_agents.dialects.templates.chat_template`; removed in 0.3."""

from codec_agents.dialects.templates.chat_template import check_template, derive_from_config

__all__ = ["check_template", "derive_from_config"]
