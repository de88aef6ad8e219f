"""A piece of an answer, for clients that read text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec_agents.tools.calls import ToolCall


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of one lane."""

    lane: str
    """`answer`, `reasoning`, `tool_calls`, or "" for an event."""
    text: str = ""
    call: ToolCall | None = None
    event: Mapping[str, Any] | None = None
    """What happened before the answer; such a piece is of no lane."""
    stop: int = 0
    """The position behind the ids of its lane that were read when it was complete."""

    @property
    def arguments(self) -> str:
        """The arguments of the call, as JSON."""
        assert self.call is not None
        return json.dumps(self.call.arguments, ensure_ascii=False)
