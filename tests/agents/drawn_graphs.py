"""Graphs that nobody thought of, on engines that break off: what a number draws, and what a timing changes.

The number says which nodes there are and what their models say. The timing says only how frames are cut, what
waits, and where an engine fails for a moment: none of it may change what comes out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel

from codec_agents import Chat, Pipeline, tool
from codec_agents.engines.base import GenerationRequest
from codec_agents.engines.scripted.script import EncodedTurn, encode_turn
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, ScriptedModel, Think
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

MAPS = ("demo/bytes", "demo/words")
FAULTS = 2
"""How often at most one turn is broken off for a moment."""
RETRY = {"retry": {"attempts": FAULTS + 1, "initial": 0.0, "max": 0.0}}


def said_so_far(ids: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """Return what a prompt holds of the turn that is asked for: all behind the head of the last turn."""
    start = vocabulary.special_tokens["<|im_start|>"]
    last = len(ids) - 1 - list(reversed(ids)).index(start)
    return list(ids[last + 1 + len(pick_tokenizer(vocabulary).encode_ordinary("assistant\n")) :])


class UnreliableEngine(ScriptedEngine):
    """Breaks its turns off at places that the timing draws, and must be asked for exactly what is missing."""

    def __init__(self, script: Any, timing: random.Random, *, seams: bool = True) -> None:
        frames, pace = (1, timing.randint(1, 9)), timing.choice([None, 20_000.0])
        seed = timing.randrange(1000)
        super().__init__(ScriptedModel(script=script, ids_a_frame=frames, ids_a_second=pace, seed=seed))
        self._timing = timing
        self._left = FAULTS if seams else 0

    def _turn(self, request: GenerationRequest) -> EncodedTurn:
        said = said_so_far(request.prompt_ids, request.vocabulary)
        asked = request.prompt_ids[: len(request.prompt_ids) - len(said)]
        prompt = PromptView(asked, request.vocabulary, request.model)
        whole = encode_turn(self.model.script(prompt), request.vocabulary, prompt)
        assert whole.ids[: len(said)] == said, "a request goes on from exactly what was received"
        turn = replace(whole, ids=whole.ids[len(said) :], waits={})
        turn.waits = {self._timing.randint(0, len(turn.ids)): self._timing.random() * 0.003}
        if self._left and self._timing.random() < 0.3:
            self._left -= 1
            if self._timing.random() < 0.3:
                self._refuse(503)
            turn.ids, turn.finish_reason = turn.ids[: self._timing.randint(0, len(turn.ids))], None
        return turn

    def _refuse(self, status: int) -> None:
        from codec_agents.exceptions import EngineStatusError

        raise EngineStatusError(self.name, status, "busy")


class FailingEngine(UnreliableEngine):
    """Fails for good behind so many ids, however often it is asked."""

    def __init__(self, script: Any, timing: random.Random, after: int) -> None:
        super().__init__(script, timing, seams=False)
        self._after = after

    def _turn(self, request: GenerationRequest) -> EncodedTurn:
        turn, said = super()._turn(request), said_so_far(request.prompt_ids, request.vocabulary)
        if len(said) >= self._after:
            self._refuse(400)
        turn.ids, turn.finish_reason = turn.ids[: self._after - len(said)], None
        return turn


class SleepingEngine(UnreliableEngine):
    """Says a word, and then nothing more for longer than a test may take."""

    def __init__(self, timing: random.Random) -> None:
        super().__init__(lambda _: [Say("never ever"), Say("!")], timing, seams=False)

    def _turn(self, request: GenerationRequest) -> EncodedTurn:
        turn = super()._turn(request)
        turn.waits = {self._timing.randint(0, len(turn.ids) - 1): 90.0}
        return turn


def words_of(prompt: PromptView) -> list[str]:
    return "".join(char if char.isalnum() else " " for char in prompt.user).split()


def lines(prompt: PromptView) -> Any:
    """Think of, and write lines of, the words that are told."""
    said = "\n".join(f"{word[:4]}{number}" for number, word in enumerate(words_of(prompt)[:5]))
    return [Think("well,"), Say(said or "nothing")]


def looking(prompt: PromptView) -> Any:
    """Look something up, twice, before the answer."""
    if prompt.turn < 3:
        return [Say("look "), Call("look", number=prompt.turn), Call("peek", word="x" * prompt.turn)]
    return Say(" ".join([*words_of(prompt)[:3], *prompt.results]))


async def look(number: int) -> int:
    """Look."""
    await anyio.lowlevel.checkpoint()
    return number * 2


def peek(word: str) -> str:
    """Peek."""
    return word.upper()


def flipped(value: Sequence[int]) -> list[int]:
    return list(value)[::-1]


def shouted(value: str) -> str:
    return value.upper()


@tool(approval=True, name="look")
def allowed(number: int) -> int:
    """Look, if somebody agrees."""
    return number * 2


class Drawing:
    """Draws one graph; `engines` are all that its models ask.

    With `asks`, models look nothing up unless somebody agrees, and none goes on for ever: a run is put down
    only when all that is at work has ended.
    """

    def __init__(self, number: int, timing: random.Random, *, asks: bool = False) -> None:
        self._draw = random.Random(number)
        self._timing = timing
        self._asks = asks
        self._branches = number % 2 == 1
        """Whether nodes may end before those that feed them: elsewhere few have tasks of their own."""
        self.engines: list[UnreliableEngine] = []

    def engine(self, script: Any = lines) -> UnreliableEngine:
        self.engines.append(UnreliableEngine(script, self._timing))
        return self.engines[-1]

    def model(self, p: Pipeline, name: str, **fields: Any) -> None:
        """Add a model with the slot `x`; every third looks things up."""
        script: Any = looking if self._draw.random() < 0.3 else lines
        tools = [allowed if self._asks else look, peek] if script is looking else []
        engine = fields.pop("engine", None) or self.engine(script)
        fields = {"prompt": Chat(user="{x}"), "policy": RETRY, "tools": tools, **fields}
        p.model(name, engine=engine, map=self._draw.choice(MAPS), **fields)

    def graph(self, steps: int = 7, depth: int = 2, *, name: str = "drawn") -> Pipeline:
        """Draw a graph from an input `q` to sinks, of which the first is `of-n0`."""
        p = Pipeline(name).input("q")
        self.model(p, "n0")
        p.connect("q", "n0")
        ends = ["n0"]
        for step in range(1, steps):
            ends.append(self._add(p, f"n{step}", ends, depth))
        for node in dict.fromkeys(ends):
            p.sink(f"of-{node}", text=depth == 2 and self._draw.random() < 0.7)
            p.connect(node, f"of-{node}", buffer=self._draw.choice([1, 4096]))
        return p

    def _add(self, p: Pipeline, name: str, before: list[str], depth: int) -> str:
        kinds = ["model", "slots", "join", "function", "text", "shared"]
        if self._branches:
            kinds += ["router", "fallback", "skip", *([] if self._asks else ["race"])]
        if depth:
            kinds += ["map", "loop", "pipeline", "common"]
        kind = self._draw.choice(kinds)
        getattr(self, f"_{kind}")(p, name, self._draw.choice(before[-3:]), self._draw.choice(before), depth)
        return name

    def _edge(self, p: Pipeline, source: str, target: str, **fields: Any) -> None:
        p.connect(source, target, buffer=self._draw.choice([1, 7, 4096]), **fields)

    def _model(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        self.model(p, name)
        self._edge(p, one, name)

    def _slots(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        self.model(p, name, prompt=Chat(user="{x}; {y}"))
        self._edge(p, one, f"{name}.x")
        self._edge(p, other, f"{name}.y")

    def _shared(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        """Bring two edges into one slot, with a separator between."""
        self.model(p, name)
        for source in dict.fromkeys((one, other, "q")):
            self._edge(p, source, name, separator=self._draw.choice([" ", "+", "\n"]))

    def _join(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        p.join(name, map=self._draw.choice(MAPS))
        for source in dict.fromkeys((one, other)):
            self._edge(p, source, name)

    def _function(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        p.function(name, flipped, map=self._draw.choice(MAPS))
        self._edge(p, one, name)

    def _text(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        p.function(f"{name}t", shouted, wants="text").function(name, flipped, map=MAPS[0])
        self._edge(p, one, f"{name}t")
        self._edge(p, f"{name}t", name)

    def _router(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        """Let a router read one node, and what it chooses read that one or another; join the branches."""
        label = self._draw.choice(["yes", "yesterday", "odd"])
        labels = {"yes": f"{name}a", "yesterday": [f"{name}b", f"{name}c"]}
        p.router(
            f"{name}r",
            engine=self.engine(lambda _: label),
            map=self._draw.choice(MAPS),
            prompt=Chat(user="{x}"),
            labels=labels,
            default=f"{name}b",
            policy=RETRY,
        )
        self._edge(p, one, f"{name}r")
        for branch in "abc":
            self.model(p, f"{name}{branch}")
            self._edge(p, self._draw.choice([one, other]), f"{name}{branch}")
        p.join(name, map=self._draw.choice(MAPS))
        for branch in "abc":
            self._edge(p, f"{name}{branch}", name)

    def _failing(self, p: Pipeline, name: str, one: str, on_failure: str) -> None:
        engine = FailingEngine(lines, self._timing, self._draw.randint(0, 6))
        self.engines.append(engine)
        self.model(p, name, engine=engine, policy={**RETRY, "on_failure": on_failure}, tools=[])
        self._edge(p, one, name)

    def _fallback(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        """Let a model fail, or not, and another one take over with what was delivered."""
        if self._draw.random() < 0.6:
            self._failing(p, f"{name}f", one, "fallback")
        else:
            self.model(p, f"{name}f", policy={**RETRY, "on_failure": "fallback"})
            self._edge(p, one, f"{name}f")
        self.model(p, f"{name}g", prompt=Chat(user="{x}, {y}"))
        self._edge(p, f"{name}f", f"{name}g.y", fallback=True)
        self._edge(p, other, f"{name}g.x")
        p.join(name, map=self._draw.choice(MAPS))
        self._edge(p, f"{name}f", name)
        self._edge(p, f"{name}g", name)

    def _skip(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        """Let a model fail whose branch is then left out."""
        self._failing(p, f"{name}f", one, "skip")
        self.model(p, f"{name}g")
        self._edge(p, f"{name}f", f"{name}g")
        p.join(name, map=self._draw.choice(MAPS))
        self._edge(p, f"{name}g", name)
        self._edge(p, other, name)

    def _race(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        """Let a model race with one that never ends."""
        self.model(p, f"{name}f")
        self.engines.append(SleepingEngine(self._timing))
        self.model(p, f"{name}s", engine=self.engines[-1], tools=[])
        p.join(name, first=1, map=self._draw.choice(MAPS))
        for racer in "fs":
            self._edge(p, one if racer == "f" else other, f"{name}{racer}")
            self._edge(p, f"{name}{racer}", name)

    def _body(self, depth: int, inputs: Sequence[str] = ("q",)) -> Pipeline:
        p = self.graph(self._draw.randint(1, 3), depth - 1, name="body")
        for extra in inputs[1:]:
            p.input(extra)
            self.model(p, "extra")
            p.connect(extra, "extra")
            p.sink("of-extra", text=False)
            p.connect("extra", "of-extra")
        p.function("plain", shouted, wants="text").sink("of-plain")
        p.connect("q", "plain").connect("plain", "of-plain")
        return p

    def _map(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        p.map(f"{name}m", self._body(depth), parallel=self._draw.randint(1, 3))
        self._edge(p, one, f"{name}m")
        self._relay(p, f"{name}m", name)

    def _common(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        parallel = self._draw.randint(1, 3)
        p.map(f"{name}m", self._body(depth, ("q", "all")), over="q", parallel=parallel)
        self._edge(p, one, f"{name}m.q")
        self._edge(p, other, f"{name}m.all")
        self._relay(p, f"{name}m", name)

    def _loop(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        turns = self._draw.randint(1, 3)
        p.loop(f"{name}m", self._body(depth), turns=turns, feedback={"of-n0": "q"})
        self._edge(p, one, f"{name}m")
        self._relay(p, f"{name}m", name)

    def _pipeline(self, p: Pipeline, name: str, one: str, other: str, depth: int) -> None:
        p.pipeline(f"{name}m", self._body(depth))
        self._edge(p, one, f"{name}m.q")
        self._relay(p, f"{name}m", name)

    def _relay(self, p: Pipeline, inner: str, name: str) -> None:
        """Let what leaves a body by its first sink go on under the name of the step; its text has a sink."""
        p.function(name, flipped, map=MAPS[0]).sink(f"plain-{name}")
        self._edge(p, f"{inner}.of-n0", name)
        self._edge(p, f"{inner}.of-plain", f"plain-{name}")
