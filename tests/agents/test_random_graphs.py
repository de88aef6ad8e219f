"""Graphs that nobody thought of: they come to their end, and neither cuts nor pauses change the result.

A replay and a recovery give it as well.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.testing import PromptView, Say, ScriptedEngine, ScriptedModel, Wait

MAPS = ("demo/bytes", "demo/words")
GRAPHS = 24
STEPS = 7


def engine(timing: random.Random) -> ScriptedEngine:
    """Return a model that makes lines of the words that it is told, cut and paced at random."""

    def script(prompt: PromptView) -> Any:
        words = "".join(char if char.isalnum() else " " for char in prompt.user).split()
        lines = "\n".join(f"{word[:4]}{number}" for number, word in enumerate(words[:5]))
        return [Wait(timing.choice([0.0, timing.random() * 0.003])), Say(lines or "nothing")]

    frames, pace = (1, timing.randint(1, 9)), timing.choice([None, 5000.0])
    seed = timing.randrange(1000)
    return ScriptedEngine(ScriptedModel(script=script, ids_a_frame=frames, ids_a_second=pace, seed=seed))


def flipped(value: Sequence[int]) -> list[int]:
    return list(value)[::-1]


def body(draw: random.Random, timing: random.Random, depth: int) -> Pipeline:
    """Declare what a map or a loop does: a model, or a map of its own."""
    p = Pipeline("body").input("item").sink("said", text=False)
    if depth and draw.random() < 0.4:
        p.map("inner", body(draw, timing, depth - 1), parallel=draw.randint(1, 3))
        return p.connect("item", "inner", buffer=draw.choice([1, 64])).connect("inner", "said")
    p.model("m", engine=engine(timing), map=draw.choice(MAPS), prompt=Chat(user="{item}"))
    return p.connect("item", "m").connect("m", "said")


def graph(number: int, timing: random.Random) -> Pipeline:
    """Declare the graph of a number; `timing` changes only when things happen, and how they are cut."""
    draw = random.Random(number)
    p = Pipeline(f"random-{number}").input("q")
    p.model("n0", engine=engine(timing), map=MAPS[0], prompt=Chat(user="{x}")).connect("q", "n0")
    for step in range(1, STEPS):
        name, before = f"n{step}", [f"n{earlier}" for earlier in range(step)]
        one, other = draw.choice(before[-3:]), draw.choice(before)
        buffer = {"buffer": draw.choice([1, 7, 4096])}
        match draw.choice(["model", "two slots", "map", "common", "join", "loop", "function"]):
            case "model":
                p.model(name, engine=engine(timing), map=draw.choice(MAPS), prompt=Chat(user="{x}"))
                p.connect(one, name, **buffer)
            case "two slots":
                p.model(name, engine=engine(timing), map=draw.choice(MAPS), prompt=Chat(user="{x}; {y}"))
                p.connect(one, f"{name}.x", **buffer).connect(other, f"{name}.y", **buffer)
            case "map":
                p.map(name, body(draw, timing, 2), parallel=draw.randint(1, 3)).connect(one, name, **buffer)
            case "common":
                inner = Pipeline("common").input("item").input("all").sink("said", text=False)
                inner.model("m", engine=engine(timing), map=MAPS[1], prompt=Chat(user="{item} {all}"))
                inner.connect("item", "m.item").connect("all", "m.all").connect("m", "said")
                p.map(name, inner, over="item", parallel=2)
                p.connect(one, f"{name}.item", **buffer).connect(other, f"{name}.all", **buffer)
            case "join":
                p.join(name, map=draw.choice(MAPS))
                for source in dict.fromkeys((one, other)):
                    p.connect(source, name, **buffer)
            case "loop":
                feedback = {"said": "item"}
                p.loop(name, body(draw, timing, 0), turns=draw.randint(1, 3), feedback=feedback)
                p.connect(one, name, **buffer)
            case "function":
                p.function(name, flipped, map=MAPS[0]).connect(one, name, **buffer)
    for name in [f"n{step}" for step in range(STEPS)]:
        p.sink(f"of-{name}").connect(name, f"of-{name}", buffer=draw.choice([1, 4096]))
    return p


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", range(GRAPHS))
async def test_a_random_graph_gives_the_same_however_it_runs(number: int, tmp_path: Path) -> None:
    inputs, record = {"q": "alpha beta gamma"}, tmp_path / "run.jsonl"
    with anyio.fail_after(60):
        first = await graph(number, random.Random(0)).invoke(inputs, record=record)
        second = await graph(number, random.Random(1)).invoke(inputs)
        replayed = await graph(number, random.Random(2)).replay(record).execute()
        recovered = await graph(number, random.Random(3)).recover(record).execute()
    assert first.text["of-n0"] == "alph0\nbeta1\ngamm2"
    for other in (second, replayed, recovered):
        assert (other.text, other.ids, other.outcomes) == (first.text, first.ids, first.outcomes)
