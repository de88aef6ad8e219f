"""Named changes to system texts, for clients whose system text is another one in each request.

A system text that changes begins a new conversation each time, and nothing of it is ever found again. A
filter takes out the part that changes, so the model does not see it either. None is on by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from codec_agents.server.apis.request import ConversationRequest

CHANGING_MARK: Final = "cch="


def without_changing_line(text: str) -> str:
    """Return a system text without its first line, where that holds a mark that is new in each request.

    Versions of Claude Code before 2.1.181 send one.
    """
    first, end, rest = text.partition("\n")
    return rest if end and CHANGING_MARK in first else text


FILTERS: Final[Mapping[str, Callable[[str], str]]] = {"claude-code-cch": without_changing_line}
"""The filters, by the names that the command line knows."""


def filtered(request: ConversationRequest, names: tuple[str, ...]) -> ConversationRequest:
    """Return a request whose system text has gone through filters."""
    if not names or not request.messages or request.messages[0].role != "system":
        return request
    system, *others = request.messages
    content = system.content
    for name in names:
        content = FILTERS[name](content)
    return replace(request, messages=(replace(system, content=content), *others))
