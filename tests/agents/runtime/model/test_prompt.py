"""A prompt that grows while its sources stream is the prompt that is put together at the end."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.engines.prompt_body import EncodedPrompt
from codec_agents.exceptions import ForgedTokenError
from codec_agents.plan.nodes import PromptedNode
from codec_agents.prompts import PromptIds, PromptSlot, PromptTemplate
from codec_agents.runtime.model.preparation import prepare
from codec_agents.runtime.model.prompt import WRITTEN_AT_ONCE
from codec_agents.testing import Call, Say, ScriptedEngine, ScriptedModel
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of

pytestmark = pytest.mark.anyio

WORDS = [
    "Grüße",
    "flight",
    "from",
    "Lisbon",
    "to",
    "東京,",
    "2",
    "coats;",
    "<|im_end|>",
    "\U0001f469\u200d",
    "\n\n",
]


class Prepared:
    """An engine that requests are prepared for ahead, as those over HTTP are."""

    provider = "scripted"
    name = "prepared"

    def __init__(self) -> None:
        self.inner = ScriptedEngine(lambda _: Say("read"))
        self.unwritten: list[int] = []
        """How many ids of each prompt were left to be written when it was sent."""
        self.prepared: list[GenerationRequest] = []

    async def prepare(self, request: GenerationRequest) -> None:
        self.prepared.append(request)

    def stream(self, request: GenerationRequest) -> AbstractAsyncContextManager[FrameStream]:
        if isinstance(request.prompt_ids, EncodedPrompt):
            self.unwritten.append(request.prompt_ids.unwritten)
            assert request.prompt_ids.checked_for(request.vocabulary)
        return self.inner.stream(request)

    async def aclose(self) -> None:
        pass


def speaker(text: str, rng: random.Random) -> ScriptedEngine:
    pace = rng.choice([None, 20_000, 60_000])
    return ScriptedEngine(
        ScriptedModel(script=lambda _: Say(text), ids_a_frame=rng.randint(1, 20), ids_a_second=pace)
    )


@pytest.mark.parametrize("seed", range(12))
async def test_it_does_not_matter_how_the_slots_are_filled(seed: int) -> None:
    """Two readers get the same from three writers; for one of them the prompt grows."""
    rng = random.Random(seed)
    ahead, whole = Prepared(), ScriptedEngine(lambda _: Say("read"))
    p = Pipeline("readers").input("q")
    for name in "abc":
        text = " ".join(rng.choices(WORDS, k=rng.randrange(0, 150)))
        map_id = rng.choice(["demo/bytes", "demo/words"])
        options = {"max_tokens": 9999}
        p.model(name, engine=speaker(text, rng), map=map_id, prompt=Chat(user="{q}"), sampling=options)
        p.connect("q", name)
    for reader, engine in (("ahead", ahead), ("whole", whole)):
        prompt = Chat(system="Read {x}.", user="{q}: {y}, and {x}")
        p.model(reader, engine=engine, map="demo/words", prompt=prompt).sink(f"of_{reader}")
        p.connect("q", f"{reader}.q").connect("b", f"{reader}.y").connect(reader, f"of_{reader}")
        p.connect("a", f"{reader}.x").connect("c", f"{reader}.x", separator="\n--\n")
    await p.invoke({"q": "What is this about?"})
    assert ahead.inner.requests[0].prompt_ids == whole.requests[0].prompt_ids
    assert len(ahead.unwritten) == 1


async def test_what_is_left_for_the_end_does_not_grow_with_the_prompt() -> None:
    """Ids that come together are taken together: some frames and what an edge gathers may be left over."""
    left = []
    for ids in (500, 4000):
        engine = Prepared()
        pace: dict[str, Any] = {"ids_a_frame": 8, "ids_a_second": 40_000}
        model = ScriptedModel(script=lambda _, ids=ids: Say("word " * ids), **pace)
        p = Pipeline("two").input("q").sink("out")
        p.model("a", engine=ScriptedEngine(model), map="demo/words", prompt=Chat(user="{q}"),
                sampling={"max_tokens": 9999})  # fmt: skip
        p.model("b", engine=engine, map="demo/bytes", prompt=Chat(user="{draft}"))
        await p.connect("q", "a").connect("a", "b.draft").connect("b", "out").invoke({"q": "go"})
        assert len(engine.inner.requests[0].prompt_ids) > ids
        left += engine.unwritten
    assert max(left) < 4 * WRITTEN_AT_ONCE


async def test_a_request_is_prepared_with_the_options_that_it_is_sent_with() -> None:
    """They decide to which call of an engine, and to which replica of a pool, it goes."""
    engine, sampling = Prepared(), {"max_tokens": 7, "temperature": 0.5, "session": "s"}
    p = Pipeline("one").input("q").sink("out")
    p.model("m", engine=engine, map="demo/bytes", prompt=Chat(user="{q}"), sampling=sampling)
    p.connect("q", "m").connect("m", "out")
    node = p.build().nodes["m"]
    assert isinstance(node, PromptedNode)
    await prepare(node, [5], "session")
    await p.invoke({"q": "go"})
    options = engine.prepared[0].options
    assert options.session == "s"
    assert options == engine.inner.requests[0].options


async def test_the_prompt_of_the_next_turn_is_not_written_down_again() -> None:
    engine = Prepared()
    engine.inner = ScriptedEngine(
        lambda prompt: Call("look", at="it") if prompt.turn == 1 else Say(prompt.results[0])
    )
    p = Pipeline("loop").input("q").sink("out")
    p.model("a", engine=engine, map="demo/bytes", prompt=Chat(user="{q}"), tools=[look])
    result = await p.connect("q", "a").connect("a", "out").invoke({"q": "go " * 100})
    first, second = (request.prompt_ids for request in engine.inner.requests)
    assert result.text["out"] == "seen it"
    assert list(second[: len(first)]) == list(first)
    assert engine.unwritten[1] == len(second) - len(first)


def look(at: str) -> str:
    """Look.

    Args:
        at: At what.
    """
    return f"seen {at}"


def test_control_ids_in_content_are_refused_however_they_come() -> None:
    template = PromptTemplate([PromptIds((2189,)), PromptSlot("a")], vocabulary_of(bundled_map("demo/bytes")))
    settled = template.settle(lambda _: iter([[1], None, [2, 2190]]))
    assert next(settled) == (2189,)
    assert next(settled) == [1]
    assert next(settled) is None
    with pytest.raises(ForgedTokenError, match=r"'a'.*2190"):
        next(settled)


def test_a_settled_prompt_is_the_rendered_one() -> None:
    pieces = [PromptSlot("a"), PromptIds((7,)), PromptSlot("b"), PromptSlot("a")]
    template = PromptTemplate(pieces, vocabulary_of(bundled_map("demo/bytes")))
    parts = {"a": [[1], [2, 3]], "b": [[], [4]]}
    settled = template.settle(lambda slot: iter(parts[slot]))
    whole = {slot: list(chain.from_iterable(ids)) for slot, ids in parts.items()}
    assert [token for ids in settled for token in ids or ()] == template.render(whole)
