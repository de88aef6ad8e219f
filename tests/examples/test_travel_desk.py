"""The demo: other questions give other calls, other drafts and other answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from codec_agents.pipeline import Pipeline
from codec_agents.runtime.result import RunResult

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "travel_desk.yaml"
pytest.importorskip("uvicorn", reason="embedded engines need the extra `server`")


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Pipeline]:
    text = EXAMPLE.read_text(encoding="utf-8").replace("ids_a_second: 120, ", "")
    async with Pipeline.from_yaml(text, directory=EXAMPLE.parent).opened() as pipeline:
        yield pipeline


async def ask(desk: Pipeline, question: str) -> RunResult:
    return await desk.invoke({"question": question})


@pytest.mark.asyncio
async def test_the_cheapest_flight_and_what_to_pack(desk: Pipeline) -> None:
    result = await ask(desk, "A flight from Lisbon to Oslo on Friday in January, and what do I pack?")
    answer = result.text["reader"]
    assert "Take DY1819 on Friday: it leaves Lisbon at 13:40 and lands in Oslo at 19:00." in answer
    assert "At €96 it is the cheapest (2 others up to €148)." in answer
    assert "In January, Oslo has -5 to 0 °C" in answer
    assert "Pack a winter coat, gloves and a hat and an umbrella." in answer


@pytest.mark.asyncio
async def test_another_day_another_flight(desk: Pipeline) -> None:
    result = await ask(desk, "from Lisbon to Oslo on monday in July")
    assert "Take SK4692 on Monday" in result.text["reader"]
    assert "Pack light clothes, sunscreen and an umbrella." in result.text["reader"]


@pytest.mark.asyncio
async def test_a_day_without_a_flight(desk: Pipeline) -> None:
    result = await ask(desk, "from Munich to Stockholm on Sunday in May")
    assert "no flight from Munich to Stockholm on Sunday; try Mon Wed Thu Fri." in result.text["reader"]


@pytest.mark.asyncio
async def test_a_city_that_no_table_has(desk: Pipeline) -> None:
    result = await ask(desk, "from Lisbon to Atlantis on Friday in May")
    assert result.text["reader"] == "There is no flight from Lisbon to Atlantis on Friday."


@pytest.mark.asyncio
async def test_a_question_without_a_route_calls_no_tool(desk: Pipeline) -> None:
    result = await ask(desk, "Hello?")
    assert result.text["reader"].startswith("I am glad to help!")
    assert result.total.tool_calls == 0


@pytest.mark.asyncio
async def test_the_reasoning_stays_ids(desk: Pipeline) -> None:
    result = await ask(desk, "from Lisbon to Oslo on Friday")
    assert len(result.ids["notebook"]) == result.usage["planner"].reasoning_ids > 0
    assert "notebook" not in result.text


@pytest.mark.asyncio
async def test_the_vocabularies_differ_and_the_handoff_translates(desk: Pipeline) -> None:
    result = await ask(desk, "from Lisbon to Oslo on Friday")
    strategies = {report.source: report.strategy for report in result.handoffs}
    assert strategies == {"question.value": "encode", "planner.answer": "translate"}
