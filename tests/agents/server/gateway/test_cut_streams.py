"""Streams that their client leaves at every event of every API, and what it can go on with."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from codec_agents.server import ReasoningRules, ScriptedBackend
from codec_agents.server.gateway.equivalence import without_edges
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.recording import RecordingExchanges
from codec_agents.testing import Call, Say, Script, Think
from codec_core.detokenizer import Detokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.agents.server.gateway.agents import WORDS
from tests.agents.server.gateway.test_gateway import SCHEMA

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

TOOL = {"name": "weather", "description": "d"}
APIS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "weather?"}],
        "tools": [{"type": "function", "function": {**TOOL, "parameters": SCHEMA}}],
    },
    "/v1/responses": {
        "input": [{"role": "user", "content": "weather?"}],
        "tools": [{"type": "function", **TOOL, "parameters": SCHEMA}],
    },
    "/v1/messages": {
        "messages": [{"role": "user", "content": "weather?"}],
        "tools": [{**TOOL, "input_schema": SCHEMA}],
        "max_tokens": 400,
    },
}
LAST = dict(zip(APIS, ("[DONE]", "response.completed", "message_stop"), strict=True))


def script_of(seed: int) -> Script:
    """Return a script that thinks, says something and calls a tool; most of it is drawn."""
    draw = random.Random(seed)
    said = "Let me see — 三 😀." if not seed else "".join(draw.choices(WORDS, k=draw.randint(2, 9)))
    thought = "ü " * draw.randint(0, 3)

    def script(prompt: Any) -> Iterator[Any]:
        if "On" in prompt.user:
            yield Say("Then on.")
            return
        if thought:
            yield Think(thought)
        yield Say(said)
        if seed % 3 != 1:
            yield Call("weather", city="Oslo")

    return script


class Cut:
    """One request to the application, whose client leaves behind a number of pieces of the body."""

    def __init__(self, path: str, body: Any, pieces: int | None = None) -> None:
        self.scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        }  # fmt: skip
        self.pieces: list[bytes] = []
        self.headers: dict[str, str] = {}
        self._body = json.dumps(body).encode()
        self._most = pieces
        self._left = anyio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif self._most is not None and len(self.pieces) >= self._most:
            self._left.set()
            for _ in range(20):  # a piece is dropped, and the server has to see that the client left
                await anyio.lowlevel.checkpoint()
        elif message.get("body"):
            self.pieces.append(message["body"])
        await anyio.lowlevel.checkpoint()

    async def run(self, app: Gateway) -> None:
        with anyio.fail_after(20):
            await app(self.scope, self.receive, self.send)

    @property
    def text(self) -> str:
        """The text of the answer that the client has got."""
        lines = b"".join(self.pieces).decode().split("\n")
        return "".join(map(_text_of, (line[6:] for line in lines if line.startswith("data: {"))))


def _text_of(data: str) -> str:
    event = json.loads(data)
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("text") or "")
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def new_gateway(seed: int) -> Gateway:
    sizes = 1 + seed % 3
    backend = ScriptedBackend.of(small_map_of("qwen3"), script_of(seed), "m", ids_a_frame=sizes)
    return Gateway(backend, rules=ReasoningRules(kept="all"), exchanges=RecordingExchanges())


def with_history(path: str, text: str) -> dict[str, Any]:
    """Return the request of a client that goes on with the text that it got."""
    body = APIS[path]
    field = "input" if path == "/v1/responses" else "messages"
    said = [{"role": "assistant", "content": text}, {"role": "user", "content": "On"}]
    return {**body, field: [*body[field], *said]}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("path", APIS)
async def test_a_client_goes_on_behind_exactly_what_it_got_of_a_stream(path: str, seed: int) -> None:
    whole = Cut(path, {**APIS[path], "stream": True})
    await whole.run(new_gateway(seed))
    vocabulary = vocabulary_of(small_map_of("qwen3"))
    texts = set()
    for pieces in range(len(whole.pieces) + 1):
        gateway = new_gateway(seed)
        cut = Cut(path, {**APIS[path], "stream": True}, pieces if pieces < len(whole.pieces) else None)
        await cut.run(gateway)
        counts, delivered = gateway.conversations.counts, b"".join(cut.pieces).decode()
        # A whole turn is stored before its last event, and one that was left as what was sampled of it.
        assert counts.stored == 1 or LAST[path] not in delivered
        assert counts.stored + counts.broken == bool(gateway.exchanges.generations[0].ids or cut.pieces)
        if not without_edges(cut.text) or counts.stored:
            continue
        texts.add(cut.text)
        again = Cut(path, with_history(path, cut.text))
        await again.run(gateway)
        one, two = gateway.exchanges.generations
        assert "x-codec-lineage" in again.headers, (again.pieces, cut.text)
        kind, _, kept = again.headers["x-codec-lineage"].partition(" ")
        assert kind == "extended", (pieces, cut.text)
        known = [*one.prompt_ids, *one.ids][: int(kept)]
        assert list(two.prompt_ids[: int(kept)]) == known
        said = Detokenizer(vocabulary).render(known[len(one.prompt_ids) :])
        assert without_edges(said).endswith(without_edges(cut.text))
    assert texts or seed
