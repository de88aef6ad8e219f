"""What the gateway costs a request, by the length of its history.

    python -m tests.benchmarks gateway

A conversation of tools with ever more ids of history, as clients send it: text, with arguments written anew.
For each length: the time to read the JSON, and what the gateway adds to it, part by part (the keys of
the history, the look-up, the prompt), with the conversations in memory and in a SQLite file; the accesses to
the store; and for comparison the time to write the whole prompt anew, as a server does that knows nothing.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.server.apis.chat import read_chat
from codec_agents.server.gateway.continuation import Continuation, ReasoningRules, continue_history
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.server.gateway.lineage import Lineage
from codec_agents.server.gateway.mint import new_nonce
from codec_agents.server.gateway.sqlite_store import SqliteStore
from codec_agents.server.gateway.store import MemoryStore, Store
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.benchmarks import gateway_streams, gateway_turns
from tests.conftest import maps_directory

BAR = 2e-3
"""Seconds that the gateway may add to a request with 10,000 ids of history."""
AT = 10_000
LENGTHS = (1_000, 10_000, 100_000)
REPETITIONS = 31
TENANT = b"t"
RESULT = (
    "The fares from Lisbon to Oslo on Friday are 96, 131 and 148 euros; the cheapest leaves at 13:40. " * 8
)
TOOL = {
    "type": "function",
    "function": {"name": "fares", "description": "Find fares.", "parameters": {"type": "object"}},
}


class Conversation:
    """A conversation of one user with a tool, as its client has it."""

    def __init__(self, store: Store, thought: str = "") -> None:
        self.thought = f"<think>\n{thought}\n</think>\n\n" if thought else ""
        vocabulary = vocabulary_of(read_map(str(maps_directory() / "qwen/qwen3.json")))
        self.dialect = BoundDialect(get_dialect("qwen3"), vocabulary)
        self.encode = pick_tokenizer(vocabulary).encode
        self.lineage, self.store = Lineage(store), store
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "A cheap flight?"},
        ]
        self.length = 0

    def body(self) -> bytes:
        return json.dumps({"messages": self.messages, "tools": [TOOL]}).encode()

    def ask(self, body: bytes, clock: Clock | None = None) -> Continuation:
        clock = clock or Clock()
        request = clock("read", lambda: read_chat(body))
        hints = frozenset(hint for minted in request.hints.minted.values() for hint in minted)
        asked = Asked(TENANT, "m", request.messages, request.offered_tools, None, hints)
        history = clock("keys", lambda: history_of(asked, self.dialect))
        found = clock("look-up", lambda: self.lineage.find(history, TENANT, hints))
        return clock(
            "prompt", lambda: continue_history(asked, history, found, self.dialect, ReasoningRules())
        )

    def grow(self, ids: int) -> None:
        """Go on until the history has so many ids."""
        while self.length < ids:
            number = len(self.messages)
            payload = f'{{"name": "fares", "arguments": {{"day": {number}.0}}}}'
            text = f"{self.thought}<tool_call>\n{payload}\n</tool_call><|im_end|>"
            continuation = self.ask(self.body())
            call = {"name": "fares", "arguments": f'{{"day":{number}}}'}
            sent = {"id": f"c{number}", "type": "function", "function": call}
            request = read_chat(
                json.dumps({"messages": [{"role": "assistant", "tool_calls": [sent]}]}).encode()
            )
            turn = replace(request.messages[0], reasoning=thought_of(self.thought))
            node = continuation.answered(self.encode(text), turn, nonce=new_nonce(), finish_reason="stop")
            self.store.add(node)
            self.length = node.length
            self.messages += [
                {"role": "assistant", "content": None, "tool_calls": [sent]},
                {"role": "tool", "tool_call_id": f"c{number}", "content": RESULT},
            ]


def thought_of(text: str) -> str | None:
    """Return reasoning as the model's turn has it."""
    return text.removeprefix("<think>\n").removesuffix("\n</think>\n\n") or None


class Clock:
    """Takes the times of parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, part: Callable[[], Any]) -> Any:
        start = time.process_time()
        value = part()
        self.seconds[name] = time.process_time() - start
        return value


def measured(conversation: Conversation, kind: str = "extended") -> tuple[dict[str, float], int, int]:
    """Return the median time of each part of the last request, its ids, and its accesses to the store."""
    body = conversation.body()
    times: dict[str, list[float]] = {}
    accesses = 0
    for _ in range(REPETITIONS):
        clock, before = Clock(), conversation.store.accesses  # type: ignore[attr-defined]
        continuation = conversation.ask(body, clock)
        accesses = conversation.store.accesses - before  # type: ignore[attr-defined]
        assert continuation.verdict.kind == kind, continuation.verdict
        for name, seconds in clock.seconds.items():
            times.setdefault(name, []).append(seconds)
    request = read_chat(body)
    clock = Clock()
    clock("anew", lambda: conversation.dialect.write(request.messages, tools=request.offered_tools))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {**medians, **clock.seconds}, len(continuation.prompt), accesses


def show_rendered() -> bool:
    """Print the row of a user who speaks again behind 10,000 ids of calls; return if the bar is kept."""
    conversation = Conversation(MemoryStore(), thought="I look at one day after the other. " * 8)
    conversation.grow(AT)
    conversation.messages.append({"role": "user", "content": "And back?"})
    times, _, accesses = measured(conversation, "rendered")
    added = times["keys"] + times["look-up"] + times["prompt"]
    parts = [times[part] for part in ("read", "keys", "look-up", "prompt")]
    row = " | ".join(f"{1000 * seconds:.2f}" for seconds in (*parts, added))
    print(f"| memory, rendered | {conversation.length:,} | {row} | {accesses} | {1000 * times['anew']:.1f} |")
    return added <= BAR


def main() -> bool:
    """Print the costs; return whether the bar is kept."""
    print("the gateway's share of a request, milliseconds, median; accesses to the store\n")
    print(
        "| store | ids of history | read JSON | keys | look-up | prompt | added | accesses | written anew |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        stores: list[tuple[str, Store]] = [
            ("memory", MemoryStore()),
            ("SQLite", SqliteStore(Path(folder) / "conversations.db")),
        ]
        for name, store in stores:
            conversation = Conversation(store)
            for length in LENGTHS:
                conversation.grow(length)
                times, ids, accesses = measured(conversation)
                added = times["keys"] + times["look-up"] + times["prompt"]
                kept = kept and (length > AT or added <= BAR)
                parts = [times[part] for part in ("read", "keys", "look-up", "prompt")]
                row = " | ".join(f"{1000 * seconds:.2f}" for seconds in (*parts, added))
                print(f"| {name} | {ids:,} | {row} | {accesses} | {1000 * times['anew']:.1f} |")
            store.close()
    kept = show_rendered() and kept
    print(f"\nbar: {1000 * BAR:.0f} ms added at {AT:,} ids: {'kept' if kept else 'MISSED'}")
    gateway_turns.run()
    return gateway_streams.run() and kept
