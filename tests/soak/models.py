"""The models of the served scripts and pipelines."""

from __future__ import annotations

import random
from typing import Any

from codec_agents.testing import Cut, PromptView, Raw, Refuse, Say

FAULTS = 0.05
"""Share of the requests to `faulty` that fail."""

FLOOD = [20, 21, 22] * 3_000

_draw = random.Random(5)


def answer(prompt: PromptView) -> Any:
    """Return an answer that a client can foresee, and a long one of ready ids for `flood`."""
    return [Raw(FLOOD)] if prompt.text.endswith("flood") else f"You said {prompt.text[-200:]}."


def writer(prompt: PromptView) -> str:
    """Return an answer of the second model."""
    return f"Dear reader: {prompt.user.strip()}"


def planner(prompt: PromptView) -> str:
    """Return an answer of the first model."""
    return f"[{prompt.user.strip()}]" + " and so on" * 30


def faulty(prompt: PromptView) -> list[Any]:
    """Answer as `planner`, but refuse or break off now and then."""
    if _draw.random() < FAULTS:
        # What is cut off is the beginning of the right answer, so that a retry can continue from it.
        begun = f"[{prompt.user.strip()}]" + " and so on" * 2
        return [Refuse(503, "busy")] if _draw.random() < 0.5 else [Say(begun), Cut()]
    return [Say(planner(prompt))]
