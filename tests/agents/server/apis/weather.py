"""What a scripted model says to the clients of each API: text, reasoning, calls, and a turn that is cut."""

from __future__ import annotations

from typing import Any

from codec_agents.testing import Call, Say, Stop, Think


def weather(prompt: Any, *, ending: str = "") -> list[Any]:
    if prompt.all_results:
        return [Say(f"It is {', '.join(prompt.all_results)}.")]
    if "cut" in prompt.user:
        return [Think("Long."), Say("It is "), Stop("length")]
    if "weather" in prompt.system:
        return [
            Think("Two."),
            Say("\n\n"),
            Call("weather", city="Oslo", days=1.5),
            Call("weather", city="Zürich"),
        ]
    return [Think("Easy."), Say(f"Hello ☂ {prompt.system}{ending}")]
