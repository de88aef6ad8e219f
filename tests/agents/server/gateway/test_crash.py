"""A gateway that is killed: nothing that a client got whole is lost, and nothing is given out twice."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from codec_agents.server import SqliteStore
from codec_agents.server.gateway.tree import Node
from tests.processes import url_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SERVING = """
import sys
from pathlib import Path
from codec_agents.server import Gateway, ScriptedBackend, SqliteStore, serve
from codec_agents.testing import Say, Think
from tests.agents.dialects.families import small_map_of

def script(prompt):
    return [Think("hm"), Say(f"{len(prompt.ids)} " + "word " * 30)]

backend = ScriptedBackend.of(small_map_of("qwen3"), script, "m", ids_a_second=4000, ids_a_frame=4)
serve(Gateway(backend, store=SqliteStore(Path(sys.argv[1]))), port=0)
"""
ROUNDS, CLIENTS = 5, 3


class Client:
    """Talks as long as it can, and keeps what it got whole."""

    def __init__(self, number: int, answered: threading.Semaphore) -> None:
        self._answered = answered
        self.tenant = {"x-codec-tenant": f"client-{number}"}
        self.messages: list[dict[str, Any]] = []
        self.prompts: list[list[int]] = []
        self.answers: list[list[int]] = []
        self.lineages: list[str] = []

    def talk(self, url: str, stop: threading.Event) -> None:
        with httpx.Client(base_url=url, headers=self.tenant, timeout=10) as client:
            while not stop.is_set():
                asked = [*self.messages, {"role": "user", "content": f"{len(self.messages)}?"}]
                body = {"messages": asked, "return_token_ids": True, "max_tokens": 400}
                try:
                    response = client.post("/v1/chat/completions", json=body)
                except httpx.HTTPError:
                    return
                document = response.json()
                choice = document["choices"][0]
                self.messages = [*asked, {"role": "assistant", "content": choice["message"]["content"]}]
                self.prompts.append(document["prompt_token_ids"])
                self.answers.append(choice["token_ids"])
                self.lineages.append(response.headers["x-codec-lineage"])
                self._answered.release()


@contextmanager
def killed(store: Path) -> Iterator[str]:
    """Run the gateway on a port of its own; give its URL, and kill it."""
    command = [sys.executable, "-c", SERVING, str(store)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        yield url_of(process)
    finally:
        process.kill()  # SIGKILL: the process can do nothing about it
        process.communicate()


def test_killed_at_random_moments_nothing_delivered_is_lost(tmp_path: Path) -> None:
    draw, store = random.Random(11), tmp_path / "conversations.db"
    answered = threading.Semaphore(0)
    clients = [Client(number, answered) for number in range(CLIENTS)]
    for _ in range(ROUNDS):
        stop = threading.Event()
        with killed(store) as url:
            threads = [threading.Thread(target=client.talk, args=(url, stop)) for client in clients]
            for thread in threads:
                thread.start()
            for _ in range(draw.randint(2, 9)):  # and then in the middle of what the others are asked
                assert answered.acquire(timeout=60)
        stop.set()
        for thread in threads:
            thread.join()
    kept = SqliteStore(store)
    for client in clients:
        assert len(client.answers) > 1, "the clients got answers between the crashes"
        assert client.lineages[0] == "new"
        # Each user message leaves the reasoning before it out, and changes nothing else of what is known.
        assert all(each.startswith("rendered") for each in client.lineages[1:]), client.lineages
        assert_stored(kept, client)
    kept.close()


def assert_stored(store: SqliteStore, client: Client) -> None:
    """Check that every turn that a client got is in the store once, with its ids."""
    rows = store._file.rows("SELECT number FROM turns WHERE NOT partial ORDER BY number")
    nodes: list[Node] = list(store._nodes(number for (number,) in rows))
    found = [(list(node.prompt()), list(node.sampled)) for node in nodes]
    for prompt, answer in zip(client.prompts, client.answers, strict=True):
        assert (prompt, answer) in found
    nonces = [node.nonce for node in nodes]
    assert len(set(nonces)) == len(nonces)
