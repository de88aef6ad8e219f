"""A thread uses the store for long: the event loop goes on, and turns are stored before their end is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest

from codec_agents.server import ScriptedBackend
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.gateway.store import MemoryStore
from codec_agents.server.gateway.tree import Node
from codec_agents.testing import Say
from tests.agents.dialects.families import small_map_of
from tests.agents.server.gateway.test_cut_streams import Cut

pytestmark = pytest.mark.asyncio

PATH = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
HELD = b"held"


class Store(MemoryStore):
    """A look-up of one key lasts until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.ended_in_time: bool | None = None

    def find(self, keys: Sequence[bytes]) -> list[Node]:
        if HELD in keys:
            self.begun.set()
            self.ended_in_time = self.may_end.wait(5)
        return super().find(keys)

    @property
    def turns(self) -> list[Node]:
        return list(self._by_nonce.values())


class Held:
    """A gateway whose store is in use from the middle of an answer, or from the beginning."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.store = Store()
        backend = ScriptedBackend.of(small_map_of("qwen3"), self._script, "m", ids_a_frame=1)
        self.gateway = Gateway(backend, store=self.store)
        self._thread = threading.Thread(target=self.gateway.conversations.store.find, args=([HELD],))
        if at_once:
            self._hold()

    def _script(self, prompt: Any) -> Iterator[Any]:
        yield Say("It")
        if not self.store.begun.is_set():
            self._hold()
        yield Say(" is")

    def _hold(self) -> None:
        self._thread.start()
        assert self.store.begun.wait(5)

    async def meanwhile(self, request: Cut) -> tuple[str, list[Node]]:
        """Run a request; return what its client had and what was stored while the store was in use."""
        async with anyio.create_task_group() as group:
            group.start_soon(request.run, self.gateway)
            await anyio.wait_all_tasks_blocked()
            seen = request.text, self.store.turns
            assert not any(b'"finish_reason":"stop"' in piece for piece in request.pieces)
            self.store.may_end.set()
        self._thread.join()
        assert self.store.ended_in_time, "the event loop waited for the look-up"
        return seen


async def test_the_end_of_an_answer_waits_for_the_store_and_the_event_loop_does_not() -> None:
    held, request = Held(), Cut(PATH, BODY)
    text, stored = await held.meanwhile(request)
    assert text.startswith("It")
    assert stored == []
    [turn] = held.store.turns
    assert (turn.turn.content, turn.partial, request.text) == ("It is", False, "It is")
    assert any(b'"finish_reason":"stop"' in piece for piece in request.pieces)


async def test_a_short_request_waits_for_the_store_and_the_event_loop_does_not() -> None:
    history = [*BODY["messages"], {"role": "assistant", "content": "It is"}, *BODY["messages"]]
    held, request = Held(at_once=True), Cut(PATH, {**BODY, "messages": history})
    assert await held.meanwhile(request) == ("", [])
    assert request.text == held.store.turns[0].turn.content == "It is"


async def test_a_turn_that_its_client_leaves_waits_for_the_store_and_the_event_loop_does_not() -> None:
    held = Held()
    _, stored = await held.meanwhile(Cut(PATH, BODY, 1))
    assert stored == []
    [turn] = held.store.turns
    assert turn.partial
