"""No step on the event loop of a gateway grows with an answer, or with what is known of a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from codec_agents.server import EmbeddedServer, MemoryStore, ServedModel, ServerSettings, SqliteStore
from codec_agents.server.backends.backend import BrokenOffError, Job
from codec_agents.server.gateway.look_ups import HASHED_AT_ONCE
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.gateway.store import Store
from codec_agents.server.workers import LOOP_BYTES
from codec_core.frames import CodecFrame
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.agents.server.steps import watched_steps

WORDS = "a long answer " * 6_000
CALL = f'<tool_call>\n{{"name": "write", "arguments": {{"text": "{WORDS}"}}}}\n</tool_call>'
ANSWERS = {"text": WORDS, "thought": f"<think>\n{WORDS}</think>\n\nShort.", "call": CALL, "short": "Yes."}
TOOL = {
    "type": "function",
    "function": {"name": "write", "parameters": {"properties": {"text": {"type": "string"}}}},
}

PASSED_BY = {
    # They keep or pass on a value, or copy it as a whole.
    "CodecFrame.values", "Exchange.count", "LookUps._require_bounded", "MemoryStore._use",
    "MemoryStore.keep.<locals>.<lambda>", "MessageTurns._note_calls", "Node._ids", "Node.ids",
    "Node.length", "Node.path", "Node.prompt_length", "RequestSpan.end", "_Delivery._finish",
    "_Delivery._send_part", "_Delivery._written", "_Writer._leaves_out_from", "_Writer._verdict",
    "_is_answer", "_one_frame", "_refuse", "answer", "send_part", "with_call_ids_of", "with_values",
}  # fmt: skip

WEIGHED = {
    # They compare, hash or copy, of which `HASHED_AT_ONCE` times as much is a step.
    "BoundReasoning.left_out", "GuardedProtocol.data_received", "Places.__init__",
    "Request.with_body", "Sent.of", "_Writer._behind", "_Writer._without_reasoning", "_bytes",
    "_is_turn", "_opening_before", "_shared", "_was_left_at", "forget_regions",
    "_Compared._is_same", "_Compared.is_history",
    "key_after", "model_turn_form", "same_reasoning", "without_edges",
}  # fmt: skip


class Ids:
    """A model that answers with ids which are encoded beforehand, some or all of them in one frame."""

    gathers = True
    stops_itself = False

    def __init__(self, ids_a_frame: int) -> None:
        vocabulary = vocabulary_of(small_map_of("qwen3"))
        assert vocabulary.identity  # hashes the map, once
        encode = pick_tokenizer(vocabulary).encode
        self.models: Sequence[ServedModel] = [ServedModel("m", vocabulary)]
        self.answers = {name: encode(f"{text}<|im_end|>") for name, text in ANSWERS.items()}
        self._ids_a_frame = ids_a_frame

    @asynccontextmanager
    async def generate(self, job: Job) -> AsyncIterator[AsyncIterator[CodecFrame]]:
        """Answer with what the last message names."""
        assert job.chat is not None
        yield self._frames(job.chat.messages[-1].content)

    async def _frames(self, asked: str) -> AsyncIterator[CodecFrame]:
        ids = tuple(self.answers[asked.removesuffix(" cut")])
        for start in range(0, len(ids), self._ids_a_frame):
            await anyio.lowlevel.checkpoint()
            yield CodecFrame(ids[start : start + self._ids_a_frame], done=False)
        if "cut" in asked:
            raise BrokenOffError("cut")
        yield CodecFrame((), done=True, finish_reason="stop")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold nothing open."""
        yield


class Client:
    """Asks the gateway what its model answers at length."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, path: str, headers: Any = None, **body: Any) -> Any:
        answer = self._client.post(f"/v1/{path}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return None if body.get("stream") else answer.json()

    def chat(self, *said: str, headers: Any = None, **body: Any) -> Any:
        messages = [
            {"role": "assistant" if number % 2 else "user", "content": text}
            for number, text in enumerate(said)
        ]
        return self.ask("chat/completions", headers, messages=messages, **body)

    def run(self) -> None:
        for answer in ANSWERS:
            self.chat(answer, tools=[TOOL])
            self.ask("responses", input=answer, stream=True)
        messages = [{"role": "user", "content": "call"}]
        self.ask("messages", messages=messages, max_tokens=10**6, stream=True)
        for _ in range(2):  # the second one is the turn of the first
            self.chat("text", headers={"idempotency-key": "text"})
        self.chat("text", stop=["not in it"])
        self.chat("thought", "Short.", "short")
        first = self.ask("responses", input="thought")
        self.ask("responses", input="short", previous_response_id=first["id"])
        with pytest.raises(httpx.RemoteProtocolError):
            self.chat("text cut", stream=True)
        self.chat("text cut", WORDS[:30_000], "short")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "ids_a_frame"), [("in memory", 512), ("in files", 512), ("in files", 10**6)]
)
def test_no_step_on_the_event_loop_grows_with_an_answer(kept: str, ids_a_frame: int, tmp_path: Path) -> None:
    backend = Ids(ids_a_frame)
    assert len(backend.answers["text"]) > LOOP_BYTES
    settings = ServerSettings(max_tokens=10**6, default_max_tokens=10**6)
    store: Store = MemoryStore() if kept == "in memory" else SqliteStore(tmp_path / "store.db")
    record = None if kept == "in memory" else tmp_path / "runs"
    gateway = Gateway(backend, store=store, record=record, settings=settings)
    with (
        watched_steps() as steps,
        EmbeddedServer(gateway) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        Client(client).run()
    handled = steps.beyond(LOOP_BYTES)
    assert handled.keys() - PASSED_BY - WEIGHED == set(), handled
    weighed = steps.beyond(LOOP_BYTES * HASHED_AT_ONCE)
    assert weighed.keys() - PASSED_BY == set(), weighed
    assert gateway.workers.longest_on_loop <= LOOP_BYTES
    assert gateway.conversations.counts.broken == 1
