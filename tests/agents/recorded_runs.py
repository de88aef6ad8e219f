"""Pipelines whose runs are recorded, for the tests of records and replays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from codec_agents import Chat, Pipeline
from codec_agents.records.format import Chain
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, ScriptedModel, Think
from codec_agents.tools import tool


def rewrite(path: Path, change: Callable[[str], str], *, version: int = 3) -> None:
    """Change the text of a record and seal its lines anew; before version 3 there are no seals."""
    text = re.sub(r',"sum":"\w+","chain":"\w+"', "", path.read_text())
    text = change(text.replace('"version":3', f'"version":{version}', 1))
    if version >= 3:
        chain = Chain()
        text = b"".join(chain.seal(line.encode()) for line in text.splitlines()).decode()
    path.write_text(text)


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


def paying() -> Pipeline:
    """Declare a model that calls a tool which needs approval, and then says that it is done."""

    @tool(approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    engine = ScriptedEngine(lambda prompt: Call("pay") if prompt.turn == 1 else "done")
    p = Pipeline("paying").input("q").sink("out")
    p.model("m", engine=engine, map="demo/bytes", prompt="{x}", tools=[pay])
    return p.connect("q", "m").connect("m", "out")


class Answers:
    """Functions of every kind that a pipeline asks; they count how often, or must not be asked at all."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.asked: list[str] = []
        self._forbidden = forbidden

    def _note(self, name: str) -> None:
        if self._forbidden:
            raise AssertionError(f"{name} was asked")
        self.asked.append(name)

    def lines(self, value: Sequence[int]) -> list[Sequence[int]]:
        """Cut a stream in two."""
        self._note("lines")
        return [value[: len(value) // 2], value[len(value) // 2 :]]

    def shout(self, value: str) -> str:
        """Make text of text."""
        self._note("shout")
        return value.upper()

    async def reverse(self, value: Sequence[int]) -> list[int]:
        """Make ids of ids."""
        self._note("reverse")
        return list(value)[::-1]

    def long_enough(self, sinks: Any) -> bool:
        """End a loop."""
        self._note("long_enough")
        return len(sinks["next"]) >= 6

    def any_two(self, ended: Any) -> bool:
        """End a join."""
        self._note("any_two")
        return len(ended) == 2


def asking(answers: Answers, engine: Any = None) -> Pipeline:
    """Declare a pipeline that asks a function of the user's wherever one can stand."""
    item = Pipeline("item").input("one").sink("said", text=False)
    item.function("reverse", answers.reverse, map="demo/bytes")
    item.connect("one", "reverse").connect("reverse", "said")
    turn = Pipeline("turn").input("draft").sink("next", text=False)
    model(turn, "m", engine or scripted(lambda prompt: f"{prompt.user.strip()}x"))
    turn.connect("draft", "m").connect("m", "next")
    p = Pipeline("asking").input("q").sink("reader").sink("loud")
    model(p, "a", engine or scripted(lambda prompt: f"{prompt.user.strip()}bc"))
    p.map("each", item, items=answers.lines, separator="")
    p.loop("again", turn, turns=9, feedback={"next": "draft"}, until=answers.long_enough)
    p.join("two", until=answers.any_two).function("shout", answers.shout, wants="text")
    p.connect("q", "a").connect("a", "each").connect("each", "again")
    p.connect("a", "two").connect("each", "two").connect("again", "two")
    return p.connect("two", "shout").connect("shout", "loud").connect("again", "reader")
