"""Reasoning over several exchanges: kept or left out when a person speaks again, and held to a budget."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.dialects.writing.forgetting import ReasoningMarks, forget_regions
from codec_agents.exceptions import InputError, LimitExceededError, PromptError
from codec_agents.graph.explain import render_text
from codec_agents.graph.turns import ChatTurn
from codec_agents.plan.explanation import explain
from codec_agents.prompts import History
from codec_agents.records.reader import read_record
from codec_agents.testing import PromptView, Raw, ScriptedEngine, ScriptedModel, Stop
from codec_core.detokenizer import Detokenizer
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import FAMILIES, TOOLS, Bench, bench, dialect_of

MapOf = Callable[[str], TokenizerMap]

REASONING = [name for name, family in FAMILIES.items() if "thought" in family]
KEPT = {
    "mistral-v13",
    "command-a",
    "command-r7b",
    "cohere-moe",
    "deepseek-v4 thinking",
    "deepseek-v4.1",
    "hy3 thinking",
    "laguna-xs.2",
    "laguna-xs-2.1",
    "inkling",
    "kimi-k3",
    "mimo-v2.6",
    "minimax-m3",
    "seed-oss",
}
"""The families that keep earlier reasoning in their history."""

THOUGHT = "Two things."
SAID = "It will be sunny."
CHAT = Chat(system="Be brief.", user="{question}")


def thought(family: dict[str, Any]) -> list[str]:
    return [family["thought"][0], THOUGHT, family["thought"][1]]


def answer(family: dict[str, Any]) -> list[str]:
    before, after = family.get("answer", ["", ""])
    return [before, SAID, after, family["end"]]


class Model:
    """Says the turns that it is given, and keeps the prompts."""

    def __init__(self, *turns: list[int]) -> None:
        self.turns = list(turns)
        self.prompts: list[list[int]] = []

    def __call__(self, prompt: PromptView) -> Iterator[Any]:
        self.prompts.append(list(prompt.ids))
        yield Raw(self.turns[len(self.prompts) - 1])
        yield Stop("length")


def declare(
    name: str, family: Bench, model: Model, frame: Any = 1, budget: int | None = None, **chat: Any
) -> Pipeline:
    p = (
        Pipeline("bot", policy={"limits": {"reasoning_ids": budget}})
        .input("question")
        .sink("reader")
        .sink("thoughts")
    )
    p.tokenizer_map("own", family.map)
    engine = ScriptedEngine(ScriptedModel(script=model, ids_a_frame=frame))
    prompt = CHAT.model_copy(update=chat)
    prompt = prompt.model_copy(update={"thinking": family.thinking})
    p.model("bot", engine=engine, map="own", dialect=dialect_of(name), prompt=prompt, tools=TOOLS)
    p.connect("question", "bot.question").connect("bot.answer", "reader")
    return p.connect("bot.reasoning", "thoughts")


def spelled(family: Bench, ids: list[int]) -> str:
    return Detokenizer(family.map).render(ids, render_special=True)


@pytest.mark.parametrize("name", REASONING)
def test_history_without_reasoning_is_what_the_family_writes(name: str, shared_map: MapOf) -> None:
    """A conversation gone on with is, id by id, the prompt that declares the earlier turns."""
    family, form = bench(name, shared_map), FAMILIES[name]
    prompt = family.bound.template(CHAT, []).render({"question": family.encode("Hi")})
    said = family.ids([*thought(form), *answer(form)])
    history = History(prompt=prompt, generated=said, begin=len(prompt), map_hash=family.vocabulary.hash)
    forgetting = CHAT.model_copy(update={"keep_reasoning": False})
    found = family.bound.follow_up(history, forgetting).render({"question": family.encode("And then?")})
    turns = (ChatTurn(role="user", content="Hi"), ChatTurn(role="assistant", content=SAID))
    declared = forgetting.model_copy(update={"turns": turns})
    expected = family.bound.template(declared, []).render({"question": family.encode("And then?")})
    assert spelled(family, found) == spelled(family, expected)


@pytest.mark.parametrize("name", REASONING)
@pytest.mark.asyncio
async def test_second_exchange_keeps_or_drops_reasoning_as_the_family_does(
    name: str, shared_map: MapOf
) -> None:
    family, form = bench(name, shared_map), FAMILIES[name]
    calling = family.ids([*thought(form), form.get("two", form["one"]), form.get("call_end", form["end"])])
    closing = [form["thought"][1]] if form.get("opened") else []
    model = Model(calling, family.ids([*closing, *answer(form)]), family.ids([*closing, *answer(form)]))
    p = declare(name, family, model)
    first = await p.invoke({"question": "Hi"})
    second = await p.invoke({"question": "And then?"}, after=first)
    assert second.text["reader"].strip() == SAID
    one, two, three = model.prompts
    assert two[: len(one) + len(calling)] == one + calling  # within the loop nothing is ever left out
    said = [*first.histories["bot"].prompt, *first.histories["bot"].generated]
    assert family.bound.reasoning.stays(CHAT) == (name in KEPT)
    if name in KEPT:
        assert three[: len(said)] == said
    else:
        assert THOUGHT not in spelled(family, three)
    rest = spelled(family, three)
    assert spelled(family, family.ids([form.get("two", form["one"])])) in rest
    assert rest.count("R1") == spelled(family, said).count("R1")
    assert rest.replace("▁", " ").count(SAID) == 1
    assert rest.count("And then?") == 1


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.asyncio
async def test_declaration_overrides_the_family(keep: bool, shared_map: MapOf) -> None:
    for name in ("qwen3", "mistral-v13", "harmony", "glm-4.7"):
        family, form = bench(name, shared_map), FAMILIES[name]
        turn = family.ids([*thought(form), *answer(form)])
        model = Model(turn, turn)
        p = declare(name, family, model, keep_reasoning=keep)
        first = await p.invoke({"question": "Hi"})
        await p.invoke({"question": "And then?"}, after=first.histories)
        assert (THOUGHT in spelled(family, model.prompts[1])) == keep


@pytest.mark.asyncio
async def test_third_exchange_begins_with_all_that_was_said(shared_map: MapOf) -> None:
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    turn = family.ids([*thought(form), *answer(form)])
    model = Model(turn, turn, turn)
    p = declare("qwen3", family, model, keep_reasoning=True)
    result = await p.invoke({"question": "Hi"})
    for question in ("And then?", "And after that?"):
        kept = msgspec.json.decode(msgspec.json.encode(result.histories), type=dict[str, History])
        result = await p.invoke({"question": question}, after=kept)
    one, two, three = model.prompts
    assert two[: len(one) + len(turn)] == one + turn
    assert three[: len(two) + len(turn)] == two + turn


@pytest.mark.asyncio
async def test_record_of_a_later_exchange_replays_alone(shared_map: MapOf, tmp_path: Path) -> None:
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    turn = family.ids([*thought(form), *answer(form)])
    p = declare("qwen3", family, Model(turn, turn))
    first = await p.invoke({"question": "Hi"})
    second = await p.invoke({"question": "And then?"}, after=first, record=tmp_path / "run.jsonl")
    replayed = await p.replay(tmp_path / "run.jsonl", record=tmp_path / "again.jsonl").execute()
    assert replayed.ids == second.ids
    assert not read_record(tmp_path / "run.jsonl").differences(read_record(tmp_path / "again.jsonl"))


def test_what_cannot_be_gone_on_with_is_refused(shared_map: MapOf) -> None:
    family = bench("qwen3", shared_map)
    p = declare("qwen3", family, Model())
    history = History(prompt=[1], generated=[2], begin=1, map_hash=family.vocabulary.hash)
    with pytest.raises(InputError, match=r"no model node 'other'.*bot"):
        p.run({"question": "Hi"}, after={"other": history})
    with pytest.raises(InputError, match="hash sha256:no"):
        p.run({"question": "Hi"}, after={"bot": msgspec.structs.replace(history, map_hash="sha256:no")})
    with pytest.raises(PromptError, match="`user` turn"):
        family.bound.follow_up(history, Chat(system="only"))


def test_slots_of_the_first_turn_stay_behind(shared_map: MapOf) -> None:
    family = bench("qwen3", shared_map)
    history = History(prompt=[1], generated=[2], begin=1, map_hash=None)
    template = family.bound.follow_up(history, Chat(system="It is {day}.", user="{question}"))
    assert template.slots == ("question",)
    assert template.render({"day": family.encode("Monday"), "question": family.encode("Hi")})
    with pytest.raises(PromptError):
        template.render({"question": [], "another": []})


# Numbers stand for ids: 1 opens and 2 closes reasoning, 3 opens and 4 closes a call, 5 ends a turn, 6 and 7
# open one, 9 is a line end.
MARKS = ReasoningMarks(
    1,
    2,
    (3,),
    (4,),
    (5,),
    tuple((array("I", one), array("I", other)) for one, other in (((6, 7, 1), (6, 7)), ((6, 7), (6, 7)))),
    lambda n: b"\n" if n == 9 else b"x",
)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ([6, 7, 1, 20, 2, 9, 30, 5], [6, 7, 30, 5]),
        ([6, 7, 1, 20, 3, 21, 4, 22, 2, 30, 5], [6, 7, 30, 5]),  # a call rehearsed in reasoning
        ([6, 7, 1, 20, 3, 21, 4, 5], [6, 7, 3, 21, 4, 5]),  # reasoning that a call ended
        ([6, 7, 3, 1, 20, 2, 4, 5], [6, 7, 3, 1, 20, 2, 4, 5]),  # markers inside a call
        ([6, 7, 1, 20, 5, 6, 7, 30, 5], [6, 7, 5, 6, 7, 30, 5]),  # cut off
        ([6, 7, 40, 1, 20, 2, 41, 5], [6, 7, 40, 41, 5]),  # in the middle of an answer
        ([6, 7, 9, 1, 20, 2, 9, 9, 30, 9, 5], [6, 7, 30, 9, 5]),
        ([6, 7, 30, 9, 5], [6, 7, 30, 9, 5]),
    ],
)
def test_only_reasoning_is_left_out(said: list[int], kept: list[int]) -> None:
    begin = 2 + (said[2:3] == [1])
    assert list(forget_regions([50, 1, 51, *said], 3 + begin, MARKS)) == [50, 1, 51, *kept]


def test_content_is_never_touched() -> None:
    draw = random.Random("content")
    for _ in range(300):
        said = [draw.choice([9, 20, 21, 22]) for _ in range(draw.randint(0, 12))]
        ids = [50, 6, 7, *said, 5]
        assert list(forget_regions(ids, 3, MARKS)) == ids


# Budgets


@pytest.mark.parametrize("frame", [1, 3, (1, 7)])
@pytest.mark.parametrize("name", REASONING)
@pytest.mark.asyncio
async def test_budget_closes_reasoning_and_the_model_goes_on(
    name: str, frame: Any, shared_map: MapOf, tmp_path: Path
) -> None:
    family, form = bench(name, shared_map), FAMILIES[name]
    endless = family.ids([form["thought"][0], "and so on " * 200])
    model = Model(endless, family.ids(answer(form)))
    p = declare(name, family, model, frame, budget=40)
    result = await p.invoke({"question": "Hi"}, record=tmp_path / "run.jsonl")
    assert result.text["reader"].strip() == SAID
    assert 40 <= result.usage["bot"].reasoning_ids < 40 + 8
    first, second = model.prompts
    end = family.bound.reasoning.end()
    assert end is not None
    sampled = second[len(first) : -len(end)]
    assert second == first + sampled + end
    assert sampled == endless[: len(sampled)]
    (trajectory,) = read_record(tmp_path / "run.jsonl").trajectories()
    inserted = [i for i, own in zip(trajectory["ids"], trajectory["sampled"], strict=True) if not own]
    assert inserted == first + end
    assert (await p.replay(tmp_path / "run.jsonl").execute()).ids == result.ids


@pytest.mark.asyncio
async def test_reasoning_within_the_budget_and_answers_are_left_alone(shared_map: MapOf) -> None:
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    model = Model(family.ids([form["thought"][0], "hm", form["thought"][1], "word " * 100, form["end"]]))
    result = await declare("qwen3", family, model, budget=40).invoke({"question": "Hi"})
    assert len(model.prompts) == 1
    assert result.text["reader"].split() == ["word"] * 100


@pytest.mark.asyncio
async def test_model_that_reasons_again_is_ended(shared_map: MapOf) -> None:
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    endless = family.ids([form["thought"][0], "and so on " * 50])
    model = Model(endless, endless)
    with pytest.raises(LimitExceededError, match="reasoning_ids") as caught:
        await declare("qwen3", family, model, budget=40).invoke({"question": "Hi"})
    assert caught.value.limit == "reasoning_ids"
    assert len(model.prompts) == 2


@pytest.mark.asyncio
async def test_family_that_cannot_close_reasoning_ends_at_the_budget(shared_map: MapOf) -> None:
    from codec_agents.dialects import get_dialect, register

    qwen = get_dialect("qwen3")
    assert qwen.thinking is not None
    open_ended = qwen.thinking.model_copy(update={"closing": None})
    register(qwen.model_copy(update={"name": "qwen3-open", "thinking": open_ended}))
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    model = Model(family.ids([form["thought"][0], "and so on " * 50]))
    p = declare("qwen3-open", family, model, budget=40)
    with pytest.raises(LimitExceededError, match="reasoning_ids"):
        await p.invoke({"question": "Hi"})
    assert "40 ids of reasoning end the node" in render_text(explain(p.build()))


def routing(name: str, family: Bench, model: Model, budget: int) -> Pipeline:
    p = Pipeline("desk", policy={"limits": {"reasoning_ids": budget}}).input("question").sink("reader")
    p.tokenizer_map("own", family.map)
    engine = ScriptedEngine(ScriptedModel(script=model, ids_a_frame=3))
    p.router("way", engine=engine, map="own", dialect=name, prompt=CHAT, labels={"yes": "said", "no": "said"})
    p.connect("question", "way.question")
    p.function("said", lambda value: value, map="own").connect("way.value", "said.value")
    return p.connect("said.value", "reader")


@pytest.mark.asyncio
async def test_budget_closes_a_routers_reasoning_as_well(shared_map: MapOf) -> None:
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    model = Model(family.ids([form["thought"][0], "and so on " * 200]), family.ids(["yes", form["end"]]))
    p = routing("qwen3", family, model, 40)
    result = await p.invoke({"question": "Hi"})
    assert result.text["reader"] == "yes"
    assert 40 <= result.usage["way"].reasoning_ids < 40 + 8
    first, second = model.prompts
    assert second[: len(first)] == first
    assert second[-len(family.bound.reasoning.end() or ()) :] == family.bound.reasoning.end()
    assert "40 ids of reasoning are closed" in render_text(explain(p.build()))


@pytest.mark.asyncio
async def test_router_that_reasons_again_is_ended(shared_map: MapOf) -> None:
    family, form = bench("qwen3", shared_map), FAMILIES["qwen3"]
    endless = family.ids([form["thought"][0], "and so on " * 50])
    with pytest.raises(LimitExceededError, match="reasoning_ids"):
        await routing("qwen3", family, Model(endless, endless), 40).invoke({"question": "Hi"})


@pytest.mark.parametrize(
    ("name", "said"),
    [("qwen3", "closed by '\\n</think>\\n\\n'"), ("llama3", "have no effect: no reasoning is told apart")],
)
def test_explain_says_what_a_budget_does(name: str, said: str, shared_map: MapOf) -> None:
    p = declare(name, bench(name, shared_map), Model(), budget=40)
    assert said in render_text(explain(p.build()))


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [("harmony", "off", True), ("qwen3", "off", False), ("llama3", "on", True), ("llama3", "off", False)],
)
def test_explain_says_what_cannot_be_turned(name: str, mode: Any, said: bool, shared_map: MapOf) -> None:
    family = bench(name, shared_map)
    p = Pipeline("bot").input("question").sink("reader").tokenizer_map("own", family.map)
    prompt = Chat(user="{question}", thinking=mode)
    p.model("bot", engine=ScriptedEngine(Model()), map="own", dialect=name, prompt=prompt)
    p.connect("question", "bot.question").connect("bot.answer", "reader")
    told = render_text(explain(p.build()))
    assert (f"thinking cannot be turned {mode}" in told) == said


def test_explain_says_what_becomes_of_reasoning(shared_map: MapOf) -> None:
    for keep, said in ((None, "is left out"), (True, "stays")):
        p = declare("qwen3", bench("qwen3", shared_map), Model(), keep_reasoning=keep)
        assert f"reasoning {said} when a person speaks again" in render_text(explain(p.build()))
