"""Each family through a pipeline: think, call two tools at once, get the results, answer.

The model is a script behind the embedded server, which says the family's own forms. Its second prompt must be
the first one, the generated ids, and the results as the family documents them, piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Chat, Pipeline, tool
from codec_agents.dialects import CallRegion
from codec_agents.records.reader import read_record
from codec_agents.testing import EmbeddedEngine, PromptView, Raw, Stop
from codec_core.detokenizer import Detokenizer
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import FAMILIES, RESULTS, Bench, bench, dialect_of

SAID = "It will be sunny."


@tool(read_only=True)
def weather(city: str, days: int = 1) -> str:
    """Say how the weather will be."""
    assert (city, days) == ("Oslo", 3)
    return "R1"


@tool
async def clock(zone: str) -> str:
    """Say what time it is."""
    assert zone == "Europe/Oslo"
    return "R2"


class Model:
    """Says one family's turns, and keeps the ids of what it was asked and what it said."""

    def __init__(self, name: str, family: Bench) -> None:
        form = FAMILIES[name]
        thought = form.get("thought") or ["", ""]
        before = [thought[0], "Two things.", thought[1]] if "thought" in form else []
        calls = [form["two"], form.get("call_end", form["end"])]
        wrapped = form.get("answer", ["", ""])
        closing = [thought[1]] if form.get("opened") else []
        self.calling = family.ids([*before, *calls])
        self.answering = family.ids([*closing, wrapped[0], SAID, wrapped[1], form["end"]])
        self.prompts: list[list[int]] = []

    def __call__(self, prompt: PromptView) -> Iterator[Any]:
        self.prompts.append(list(prompt.ids))
        yield Raw(self.calling if len(self.prompts) == 1 else self.answering)
        yield Stop("length")  # no end beside the one above, which is one of the stop ids


def declare(name: str, family: Bench, engine: EmbeddedEngine) -> Pipeline:
    p = Pipeline("one")
    p.input("question")
    p.tokenizer_map("own", family.map)
    p.model(
        "model",
        engine=engine,
        map="own",
        dialect=dialect_of(name),
        prompt=Chat(system="Be brief.", user="{question}", thinking=family.thinking),
        tools=[weather, clock],
    )
    p.sink("reader")
    p.sink("thoughts")
    p.connect("question", "model.question")
    p.connect("model.answer", "reader")
    p.connect("model.reasoning", "thoughts")
    return p


def expected_results(name: str, family: Bench, calling: list[int], prompt: list[int]) -> str:
    """Return the documented form, with the ids that the model gave to its calls."""
    events = family.read(prompt, calling, [], "stop")
    regions = [event for event in events if isinstance(event, CallRegion)]
    calls = [call for region in regions for call in family.bound.parse_calls(region)]
    form = family.bound.dialect.results
    assert form is not None
    default = form.id_form.format(index=1, name="clock")
    given = [
        call.call_id or form.id_form.format(index=number, name=call.name) for number, call in enumerate(calls)
    ]
    text = RESULTS[name]
    if default != "1":
        text = text.replace(default, given[1])
    else:
        text = text.replace('"tool_call_id": "1"', f'"tool_call_id": "{given[1]}"')
    return text.replace("call00001", given[0])


def pieces(family: Bench, ids: list[int]) -> list[str]:
    """Return the control tokens, and the texts between them.

    Metaspace vocabularies put a space before each stretch of text; what matters here is the form.
    """
    special = {token_id: token for token, token_id in family.vocabulary.special_tokens.items()}
    found, begin = [""], 0
    for place, token_id in enumerate(ids):
        if token_id in special:
            found += [Detokenizer(family.map).render(ids[begin:place]), special[token_id]]
            begin = place + 1
    found.append(Detokenizer(family.map).render(ids[begin:]))
    return [piece.replace(" ", "") for piece in found if piece]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", FAMILIES)
async def test_two_tools_are_called_and_their_results_told_as_the_family_does(
    name: str, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
) -> None:
    family = bench(name, shared_map)
    model = Model(name, family)
    engine = EmbeddedEngine(model)
    try:
        result = await declare(name, family, engine).invoke(
            {"question": "Oslo?"}, record=tmp_path / "run.jsonl"
        )
    finally:
        await engine.aclose()
    assert result.text["reader"].strip() == SAID
    first, second = model.prompts
    said = [*first, *model.calling]
    assert second[: len(said)] == said
    expected = expected_results(name, family, model.calling, first)
    assert pieces(family, [said[-1], *second[len(said) :]]) == pieces(family, family.ids([expected]))
    calling, answering = read_record(tmp_path / "run.jsonl").turns
    spans = [(start, stop) for port, start, stop in calling.regions if port == "tool_calls"]
    spelled = Detokenizer(family.map).render(calling.generated[spans[0][0] : spans[-1][1]])
    assert "weather" in spelled
    assert "clock" in spelled
    told = [Detokenizer(family.map).render(second[start:stop]) for start, stop in answering.results]
    assert [text.strip(' ",}\n') for text in told] == ["R1", "R2"]  # JSON shares its quotes
    if "thought" in FAMILIES[name]:
        assert "Two things." in result.text["thoughts"]
        assert result.usage["model"].reasoning_ids > 0
