"""Ten turns of a conversation, with and without the gateway: what the engine has cached, and the first id.

Without an engine, the turns are scripted, reason, and call a tool; the cache is the longest beginning that a
prompt shares with any sequence before. With `CODEC_GATEWAY_ENGINE="vllm http://127.0.0.1:8000 FILE"`
(its kind, its address, and the model's map or tokenizer file), they are what its model says, as it reports.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from codec_agents.compiler.map_files import map_of_file
from codec_agents.compiler.resources import map_cache_folder
from codec_agents.dialects import BoundDialect, CallRegion, Message, MessageCall, derive_dialect, get_dialect
from codec_agents.engines.base import Engine, GenerationRequest, SamplingOptions
from codec_agents.engines.factory import make_engine
from codec_agents.server.apis.request import OfferedTool
from codec_agents.server.gateway.continuation import ReasoningRules, continue_history
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.server.gateway.lineage import Lineage
from codec_agents.server.gateway.mint import new_nonce
from codec_agents.server.gateway.store import MemoryStore
from codec_core.detokenizer import Detokenizer
from codec_core.discovery import DiskMapCache
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.conftest import maps_directory

ENGINE = "CODEC_GATEWAY_ENGINE"
TURNS, MOST = 10, 96
TOOL = OfferedTool("fares", "Find fares.", {"type": "object", "properties": {"day": {"type": "number"}}})
RESULT = "The fares on that day are 96, 131 and 148 euros; the cheapest leaves at 13:40. " * 4
THOUGHT = "The user wants the cheapest fare. I look at one day after the other, and compare. " * 4


class Model(Protocol):
    """Answers prompts in ids; tells how many of the prompt were cached, and when the first id came."""

    async def answer(self, prompt: Sequence[int], number: int) -> tuple[list[int], int | None, float]:
        """Return the answer to a prompt."""


class Scripted:
    """Thinks and calls the tool, and has every sequence before in its cache."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._encode = pick_tokenizer(vocabulary).encode
        self._sequences: list[list[int]] = []

    async def answer(self, prompt: Sequence[int], number: int) -> tuple[list[int], int | None, float]:
        call = f'<tool_call>\n{{"name": "fares", "arguments": {{"day": {number}.0}}}}\n</tool_call>'
        sampled = self._encode(f"<think>\n{THOUGHT}\n</think>\n\n{call}<|im_end|>")
        cached = max((shared(prompt, each) for each in self._sequences), default=0)
        self._sequences.append([*prompt, *sampled])
        return sampled, cached, 0.0


class Real:
    """An engine."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary) -> None:
        self._engine, self._vocabulary = engine, vocabulary

    async def answer(self, prompt: Sequence[int], number: int) -> tuple[list[int], int | None, float]:
        options = SamplingOptions(max_tokens=MOST, temperature=0.0, seed=number)
        request = GenerationRequest(prompt_ids=prompt, vocabulary=self._vocabulary, options=options)
        started, first, ids = time.perf_counter(), 0.0, []
        async with self._engine.stream(request) as stream:
            async for frame in stream:
                first = first or time.perf_counter() - started
                ids += frame.ids
            return ids, stream.stats.cached_tokens, first


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def sent_back(dialect: BoundDialect, prompt: Sequence[int], ids: Sequence[int]) -> tuple[Message, Message]:
    """Return the turn as it was delivered, and as a client sends it that drops reasoning."""
    reader, texts, calls = dialect.reader(prompt, with_tools=True), {"answer": "", "reasoning": ""}, []
    for event in [*reader.feed(ids), *reader.flush("stop")]:
        if isinstance(event, CallRegion):
            found = dialect.parse_calls(event)
            calls += [
                MessageCall(call.name, call.arguments, call.call_id) for call in found if call.error is None
            ]
        else:
            texts[event.port] += Detokenizer(dialect.vocabulary).render(event.ids)
    turn = Message(
        role="assistant", content=texts["answer"], reasoning=texts["reasoning"] or None, calls=tuple(calls)
    )
    return turn, replace(turn, reasoning=None)


async def talk(
    dialect: BoundDialect, model: Model, name: str, *, exact: bool
) -> list[tuple[int, int | None, float]]:
    """Return, for each turn, the ids of the prompt, those that were cached, and the time to the first id."""
    lineage, rows = Lineage(MemoryStore()), []
    messages = [
        Message(role="system", content=f"Be brief. {name}"),
        Message(role="user", content="A cheap flight?"),
    ]
    for number in range(TURNS):
        if exact:
            asked = Asked(b"t", "m", messages, (TOOL,))
            history = history_of(asked, dialect)
            found = lineage.find(history, b"t")
            continuation = continue_history(asked, history, found, dialect, ReasoningRules())
            prompt = list(continuation.prompt)
        else:
            prompt = dialect.write(messages, tools=(TOOL,))
        ids, cached, first = await model.answer(prompt, number)
        rows.append((len(prompt), cached, first))
        turn, sent = sent_back(dialect, prompt, ids)
        if exact:
            lineage.store.add(continuation.answered(ids, turn, nonce=new_nonce(), finish_reason="stop"))
        results = [Message(role="tool", content=RESULT) for _ in sent.calls]
        messages += [sent, *(results or [Message(role="user", content=RESULT)])]
    return rows


async def compare(dialect: BoundDialect, model: Model) -> None:
    print(f"\n{TURNS} turns of a conversation whose client drops reasoning, in ids\n")
    print("| path | prompt ids, all turns | cached | recomputed | first id, ms, median |")
    print("| --- | --- | --- | --- | --- |")
    for name, exact in (("plain", False), ("gateway", True)):
        rows = await talk(dialect, model, name, exact=exact)
        total = sum(prompt for prompt, _, _ in rows)
        known = [cached for _, cached, _ in rows if cached is not None]
        cached = sum(known) if known else None
        times = sorted(first for _, _, first in rows)
        shown = ("-", "-") if cached is None else (f"{cached:,}", f"{total - cached:,}")
        print(f"| {name} | {total:,} | {shown[0]} | {shown[1]} | {1000 * times[len(times) // 2]:.1f} |")


def run() -> None:
    """Print what is cached with and without the gateway."""
    if not (given := os.environ.get(ENGINE)):
        vocabulary = vocabulary_of(read_map(str(maps_directory() / "qwen/qwen3.json")))
        asyncio.run(compare(get_dialect("qwen3").bind(vocabulary), Scripted(vocabulary)))
        return
    kind, url, file = given.split(" ", 2)
    vocabulary = vocabulary_of(map_of_file(Path(file), None, DiskMapCache(map_cache_folder())))
    asyncio.run(_with_engine(kind, url, vocabulary))


async def _with_engine(kind: str, url: str, vocabulary: Vocabulary) -> None:
    engine = make_engine(kind, name="engine", url=url)
    try:
        await compare(derive_dialect(vocabulary)[0].bind(vocabulary), Real(engine, vocabulary))
    finally:
        await engine.aclose()
