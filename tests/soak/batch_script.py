"""Two scripted models and a tool; one question in ten breaks its engine."""

from __future__ import annotations

import os
from typing import Any

from codec_agents.testing import Call, PromptView, Refuse, Say
from codec_agents.tools import tool
from codec_agents.tools.calls import ToolContext


@tool
def add(a: int, b: int, context: ToolContext) -> int:
    """Add; note the effect where the environment says."""
    if (effects := os.environ.get("EFFECTS")) is not None:
        descriptor = os.open(effects, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{context.call_key}\n".encode())
        os.close(descriptor)
    return a + b


def planner(prompt: PromptView) -> Any:
    """Add, and say the sum; fail where the question says so."""
    if "break" in prompt.user:
        yield Refuse(400)
    elif prompt.turn == 1:
        yield Call("add", a=1, b=2)
    else:
        yield Say(f"the sum is {prompt.results[0]} for {prompt.user.strip()}")


def writer(prompt: PromptView) -> Any:
    """Repeat the draft."""
    yield Say(" ".join(prompt.user.split()))
