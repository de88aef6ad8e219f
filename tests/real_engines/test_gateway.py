"""The gateway in front of real servers: exact conversations, records, made calls and forms of answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from codec_agents.engines.factory import make_engine
from codec_agents.records.reader import read_record
from codec_agents.records.trajectories import trajectories_of
from codec_agents.server import EmbeddedServer, Gateway
from codec_agents.server.recording import RecordingExchanges
from tests.real_engines.conftest import Place
from tests.real_engines.engines import MODEL

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(600)]

SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "fares", "description": "Find fares.", "parameters": SCHEMA}}


@asynccontextmanager
async def gateway_to(place: Place, **options: Any) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    engine = make_engine(place.kind, name="engine", url=place.url)
    gateway = Gateway(
        engine,
        place.vocabulary,
        "m",
        model=MODEL,
        dialect="hermes",
        exchanges=RecordingExchanges(),
        **options,
    )
    async with (
        EmbeddedServer(gateway) as server,
        httpx.AsyncClient(base_url=server.url, timeout=300) as client,
    ):
        yield gateway, client


async def ask(client: httpx.AsyncClient, messages: list[Any], **body: Any) -> tuple[str, Any]:
    """Return the lineage and the choice of an answer."""
    asked = {"messages": messages, "max_tokens": 40, "temperature": 1.0, "seed": 5, **body}
    answer = await client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-codec-lineage"], answer.json()["choices"][0]


async def test_a_conversation_is_exact_and_its_record_is_one_row_with_log_probabilities(
    smol: Place, tmp_path: Path
) -> None:
    messages: list[Any] = []
    async with gateway_to(smol, record=tmp_path, record_logprobs=True) as (gateway, client):
        for question in ("Say hello.", "Count to three.", "Say goodbye."):
            messages.append({"role": "user", "content": question})
            lineage, choice = await ask(client, messages)
            assert lineage.startswith("extended" if len(messages) > 1 else "new")
            messages.append(choice["message"])
        generations = gateway.exchanges.generations  # type: ignore[attr-defined]
    [row] = trajectories_of(read_record(next(iter(written(tmp_path)))))
    last = generations[-1]
    assert row.ids == [*last.prompt_ids, *last.ids]
    assert sum(row.sampled) == sum(len(each.ids) for each in generations)
    assert row.logprobs is not None
    assert all(value <= 0 for value in row.logprobs)
    assert row.logprob_mode == "raw"


def written(folder: Path) -> list[Path]:
    return list(folder.glob("*.jsonl"))


async def test_the_prompt_of_a_named_tool_begins_its_call(smol: Place) -> None:
    """The model is too small to end each call well; what it ends is a call of the tool."""
    asked = [{"role": "user", "content": "A cheap flight to Oslo?"}]
    async with gateway_to(smol) as (gateway, client):
        body = {"messages": asked, "tools": [TOOL], "max_tokens": 40, "temperature": 0.0}
        choice = {"type": "function", "function": {"name": "fares"}}
        answer = await client.post("/v1/chat/completions", json={**body, "tool_choice": choice})
        [generation] = gateway.exchanges.generations  # type: ignore[attr-defined]
    spelled = b"".join(smol.vocabulary.token_bytes(token) for token in generation.prompt_ids).decode()
    assert spelled.endswith('<tool_call>\n{"name": "fares", "arguments":')
    if answer.status_code == 200:
        calls = answer.json()["choices"][0]["message"].get("tool_calls") or []
        assert [call["function"]["name"] for call in calls] in (["fares"], [])
        assert calls or answer.json()["choices"][0]["finish_reason"] == "length"


async def test_the_engine_holds_an_answer_to_its_schema(smol: Place) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    async with gateway_to(smol) as (_, client):
        asked = [{"role": "user", "content": "Name a city."}]
        _, choice = await ask(client, asked, response_format=form, max_tokens=60)
    assert json.loads(choice["message"]["content"])["city"] in ("Oslo", "Rome")
