"""The requests of official clients, sent once more to a gateway whose model says what was recorded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from codec_agents.dialects import Message
from codec_agents.server import EmbeddedServer
from codec_agents.server.backends.backend import Job, ServedModel
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.recording import RecordingExchanges
from codec_core.frames import CodecFrame
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import Bench, small_map_of
from tests.agents.server.gateway.recordings import Request, answers, model_turns, needs_recordings, runs

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, needs_recordings]

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}


class Repeating:
    """A back end that says the ids that it is given."""

    gathers = stops_itself = False

    def __init__(self) -> None:
        self.bench = Bench("qwen3", small_map_of("qwen3"))
        self.models = [ServedModel("m", vocabulary_of(self.bench.map))]
        self.ids: list[int] = []

    def say(self, turn: Message) -> None:
        calls = [
            f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.text}}}\n</tool_call>\n'
            for call in turn.calls
        ]
        thought = ["<think>", {"text": turn.reasoning}, "</think>"] if turn.reasoning else []
        self.ids = self.bench.ids([*thought, {"text": turn.content}, *calls, "<|im_end|>"])

    @asynccontextmanager
    async def generate(self, _job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        async def frames() -> AsyncIterator[CodecFrame]:
            for start in range(0, len(self.ids), 5):
                yield CodecFrame(tuple(self.ids[start : start + 5]), done=False)
            yield CodecFrame((), done=True, finish_reason="stop")

        yield frames()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield


class Ours:
    """The ids that the gateway gave out, for those that the recorded server had given out."""

    def __init__(self) -> None:
        self.response: str | None = None
        self.calls: list[str] = []
        self.seen: dict[str, str] = {}

    def take(self, response: httpx.Response) -> None:
        if not response.headers["content-type"].startswith("text/event-stream"):
            document = response.json()
        else:
            events = [
                json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")
            ]
            document = next(
                (event["response"] for event in events if event.get("type") == "response.completed"), {}
            )
        self.response = document.get("id")
        output = document.get("output", ())
        self.calls += [item["call_id"] for item in output if item["type"] == "function_call"]

    def in_place(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body that names our response, and our calls in the order of the recorded ones."""
        if not body.get("previous_response_id"):
            return body
        items = []
        for item in body["input"]:
            if item.get("type") == "function_call_output":
                own = self.seen.setdefault(item["call_id"], self.calls[len(self.seen)])
                item = {**item, "call_id": own}
            items.append(item)
        return {**body, "previous_response_id": self.response, "input": items}


def turn_number(requests: list[Request], place: int) -> int:
    """Return how many turns the model had said before a request."""
    request = requests[place]
    return place if request.body.get("previous_response_id") else len(model_turns(request))


async def test_recorded_clients_fork_nowhere_but_at_a_handoff() -> None:
    backend = Repeating()
    gateway = Gateway(backend, exchanges=RecordingExchanges(remembered=2000))
    kinds: dict[str, int] = {}
    async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url) as client:
        for run, requests in runs():
            if run.startswith("retry"):
                continue
            said, ours, known = answers(run), Ours(), [[]]
            for place, request in enumerate(requests):
                number = turn_number(requests, place)
                backend.say(said[min(number, len(said) - 1)])
                response = await client.post(
                    PATHS[request.api], json=ours.in_place(request.body), headers={"x-codec-tenant": run}
                )
                assert response.status_code == 200, (run, place, response.text)
                ours.take(response)
                lineage = response.headers["x-codec-lineage"]
                kinds[lineage.split()[0]] = kinds.get(lineage.split()[0], 0) + 1
                prompt = list(gateway.exchanges.generations[-1].prompt_ids)
                if lineage.startswith("extended"):
                    assert any(prompt[: len(each)] == each for each in known[1:]), (run, place)
                elif number and not lineage.startswith("rendered"):
                    assert "handoff" in run, (run, place, lineage)
                known.append([*prompt, *backend.ids])
    assert kinds["extended"] > 100
    print(kinds)
