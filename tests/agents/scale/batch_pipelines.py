"""A pipeline of two models on scripted engines in the process, for the tests of batches and durable runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from codec_agents import Chat, Pipeline
from codec_agents.testing import Call, PromptView, Refuse, Say, ScriptedEngine, Wait
from codec_agents.tools import tool
from codec_agents.tools.calls import ToolContext


def noted(path: str | Path, line: str) -> None:
    """Append a line to a file, whole: processes append side by side."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@tool
def add(a: int, b: int, context: ToolContext) -> int:
    """Add; note the effect where the environment says."""
    if (effects := os.environ.get("EFFECTS")) is not None:
        noted(effects, context.call_key)
    return a + b


def planner(prompt: PromptView) -> Any:
    """Add once; fail where the question says so."""
    if "break" in prompt.user:
        yield Refuse(400)
    if prompt.turn == 1:
        yield Call("add", a=1, b=2)
    else:
        yield Say(f"sum is {prompt.results[0]} for {prompt.user.strip()}")


def writer(prompt: PromptView) -> Any:
    """Write what was planned."""
    yield Say(" ".join(["Written:", *prompt.user.split()]))


def make(script: Any = planner) -> Pipeline:
    """Declare the pipeline."""
    p = Pipeline("desk").input("question").sink("reader")
    p.engine("A", ScriptedEngine(script))
    p.engine("B", ScriptedEngine(writer))
    p.model("planner", engine="A", model="m", map="demo/bytes", tools=[add], prompt=Chat(user="{question}"))
    p.model("writer", engine="B", model="m", map="demo/words", prompt=Chat(user="Rewrite: {draft}"))
    return (
        p.connect("question", "planner.question")
        .connect("planner.answer", "writer.draft")
        .connect("writer.answer", "reader")
    )


class Paced:
    """Makes the pipeline in an actor: it takes its time, and notes its process and what its tool does."""

    def __init__(self, pace: float, effects: str) -> None:
        self._pace = pace
        self._effects = effects

    def __call__(self) -> Pipeline:
        """Make it."""
        os.environ["EFFECTS"] = self._effects
        noted(f"{self._effects}.pids", str(os.getpid()))
        pace = self._pace

        def slowly(prompt: PromptView) -> Any:
            yield Wait(pace)
            yield from planner(prompt)

        return make(slowly)


class OnlyIn:
    """Makes the pipeline in one process alone."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __call__(self) -> Pipeline:
        """Make it.

        Raises:
            RuntimeError: this is another process.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("it works only here")
        return make()


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows with a key."""
    return [{"id": number, "question": f"q{number}"} for number in range(count)]


def results(folder: Path) -> list[dict[str, Any]]:
    """Read the results of a batch."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def saying(answer: str = "yes", user: str = "{question}") -> Pipeline:
    """Declare one model that gives one answer."""
    p = Pipeline("p").input("question").sink("reader")
    p.model("m", engine=ScriptedEngine(lambda _: answer), map="demo/bytes", prompt=Chat(user=user))
    return p.connect("question", "m").connect("m", "reader")
