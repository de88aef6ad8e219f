"""The memory of a LangGraph node as a checkpoint gives it back; needs no LangChain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from codec_agents.bridges.langgraph import MEMORY, _continued, _digest
from codec_agents.exceptions import InputError


def message(kind: str, text: str, **kept: Any) -> SimpleNamespace:
    return SimpleNamespace(type=kind, text=text, additional_kwargs=kept)


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "text",
        {},
        {"digest": _digest("yes")},
        {"digest": _digest("yes"), "histories": [1]},
        {"digest": _digest("yes"), "histories": {"m": {"ids": "x"}}},
        {"digest": 5, "histories": {}},
        {"digest": _digest("no"), "histories": {}},
    ],
)
def test_a_memory_that_was_changed_or_damaged_is_refused(kept: Any) -> None:
    answer = message("ai", "yes", **{MEMORY: kept})
    with pytest.raises(InputError, match="not an answer of this node, or it was changed"):
        _continued({"messages": [answer, message("human", "go on")]})


def test_a_memory_as_it_was_written_is_continued() -> None:
    answer = message("ai", "yes", **{MEMORY: {"digest": _digest("yes"), "histories": {}}})
    assert _continued({"messages": [answer, message("human", "go on")]}) == ("go on", {})
