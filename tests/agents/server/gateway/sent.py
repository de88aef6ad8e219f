"""Calls as a client sends them, with the text of their arguments."""

from __future__ import annotations

from dataclasses import dataclass

from codec_agents.dialects.messages import MessageCall


@dataclass(frozen=True, slots=True)
class SentCall(MessageCall):
    """A call with its arguments as text."""

    raw: str = "{}"
