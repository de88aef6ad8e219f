"""Pipelines whose runs are recorded, for the tests of records and replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codec_agents import Chat, Pipeline
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, ScriptedModel, Think


def scripted(script: Any, *, seed: int = 0) -> ScriptedEngine:
    """Return an engine whose frames are cut at random."""
    return ScriptedEngine(ScriptedModel(script=script, ids_a_frame=(1, 7), seed=seed), name="desk")


def refusing() -> ScriptedEngine:
    """Return an engine that must not be asked."""

    def script(_: PromptView) -> Any:
        raise AssertionError("an engine was asked")

    return scripted(script)


def model(p: Pipeline, name: str, engine: Any, **fields: Any) -> Pipeline:
    """Add a model with one slot."""
    return p.model(name, engine=engine, **{"prompt": Chat(user="{text}"), "map": "demo/bytes", **fields})


def look(number: int) -> int:
    """Look."""
    return number * 2


def planner(prompt: PromptView) -> Any:
    """Think, look twice, and say what was seen."""
    if prompt.turn < 3:
        return [Think("hm"), Say("I look. "), Call("look", number=prompt.turn)]
    return f"seen {' and '.join(prompt.results)}"


def desk(engine: ScriptedEngine | None = None, *, tools: Sequence[Any] = (look,)) -> Pipeline:
    """Declare a model with a tool, and a second model in another vocabulary."""

    def script(prompt: PromptView) -> Any:
        return planner(prompt) if prompt.model == "planner" else f"told: {prompt.user.strip()}"

    said_by = engine or scripted(script)
    p = Pipeline("desk").input("q").sink("reader")
    model(p, "planner", said_by, model="planner", tools=list(tools))
    model(p, "writer", said_by, model="writer", map="demo/words")
    return p.connect("q", "planner").connect("planner", "writer").connect("writer", "reader")


def mapped(engine: Any = None) -> Pipeline:
    """Declare a map whose items run side by side, and a loop behind it."""

    def each(prompt: PromptView) -> str:
        return f"<{prompt.user.strip()}>"

    def again(prompt: PromptView) -> str:
        said = prompt.user.strip()
        return f"stop {said}" if said.count("x") >= 2 else f"{said}x"

    item = Pipeline("item").input("one").sink("said", text=False)
    model(item, "m", engine or scripted(each))
    item.connect("one", "m").connect("m", "said")
    turn = Pipeline("turn").input("draft").sink("next", text=False)
    model(turn, "m", engine or scripted(again))
    turn.connect("draft", "m").connect("m", "next")
    p = Pipeline("mapped").input("q").sink("reader")
    p.map("each", item, parallel=3, separator=" ")
    p.loop("again", turn, turns=5, feedback={"next": "draft"}, until={"sink": "next", "starts_with": "stop"})
    return p.connect("q", "each").connect("each", "again").connect("again", "reader")
