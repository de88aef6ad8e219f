"""Ten turns of a conversation with a tool, with and without the gateway: what is cached, and the first id.

    python -m tests.benchmarks gateway_turns [--only vllm | llamacpp | qwen3]

First a scripted model that reasons; its cache is the longest beginning that a prompt shares with any sequence
before. Then, with `--only`, a real engine with SmolLM2, which is started for it, or runs already at
`CODEC_TEST_VLLM`. The model is held to a call of the tool in each turn, because it is too small to call by
itself. `plain` writes each prompt anew from the messages and sends it to the engine; `gateway` is an HTTP
client of a gateway in front of that engine: the time to its first id has everything that the gateway does.

`qwen3` is a real vLLM with a model that reasons: `tests.benchmarks.gateway_reasoning`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import httpx
import msgspec

from codec_agents.dialects import BoundDialect, CallRegion, Message, MessageCall, get_dialect
from codec_agents.engines.base import Engine, GenerationRequest, SamplingOptions
from codec_agents.engines.factory import make_engine
from codec_agents.server import EmbeddedServer, Gateway
from codec_agents.server.apis.request import OfferedTool, sent_call
from codec_agents.server.gateway.continuation import ReasoningRules, continue_history
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.server.gateway.lineage import Lineage
from codec_agents.server.gateway.mint import new_nonce
from codec_agents.server.gateway.store import MemoryStore
from codec_core.detokenizer import Detokenizer
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.conftest import maps_directory
from tests.real_engines.engines import MODEL
from tests.real_engines.models import smollm2_map
from tests.real_engines.places import UnavailableError
from tests.real_engines.running import url_of

TURNS, ROUNDS = 10, 2
FIELDS = {"day": {"type": "number"}, "note": {"type": "string"}}
TOOL = OfferedTool("fares", "Find fares.", {"type": "object", "properties": FIELDS})
RESULT = "The fares on that day are 96, 131 and 148 euros; the cheapest leaves at 13:40. " * 4
SHORT = "The fares on that day are 96, 131 and 148 euros; the cheapest leaves at 13:40."
"""The result on real engines, whose context has room for ten turns of it."""
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


# --- a real engine ---

START = '<tool_call>\n{"name":"fares","arguments":{"note":"'
END = '"}}\n</tool_call>'
FORMS: Mapping[str, dict[str, Any]] = {
    "vllm": {"regex": START.replace("{", r"\{") + "[a-z ]{60,90}" + END.replace("}", r"\}")},
    "llamacpp": {"grammar": f"root ::= {json.dumps(START)} [a-z ]{{60,90}} {json.dumps(END)}"},
}
"""A call in compact JSON, as many models write it; templates write the same call with spaces."""


class Held:
    """An engine whose answers are held to a call of the tool."""

    def __init__(self, engine: Engine, form: dict[str, Any]) -> None:
        self._engine, self.form = engine, form

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self, request: GenerationRequest) -> Any:
        """Start a generation."""
        options = msgspec.structs.replace(request.options, structured=self.form)
        return self._engine.stream(msgspec.structs.replace(request, options=options))


class Answer(NamedTuple):
    """One turn: ids of the prompt, ids of it that the engine had, seconds to the first id, the message."""

    prompt: int
    cached: int | None
    first: float
    message: Message


class Plain:
    """A client that writes each prompt anew."""

    def __init__(self, engine: Held, dialect: BoundDialect) -> None:
        self._engine, self._dialect = engine, dialect

    async def ask(self, messages: Sequence[Message]) -> Answer:
        """Return the next turn."""
        started, first, ids = time.perf_counter(), 0.0, []
        prompt = self._dialect.write(messages, tools=(TOOL,))
        options = SamplingOptions(**SAMPLING)
        vocabulary = self._dialect.vocabulary
        request = GenerationRequest(prompt_ids=prompt, vocabulary=vocabulary, model=MODEL, options=options)
        async with self._engine.stream(request) as stream:
            async for frame in stream:
                if frame.ids:
                    first = first or time.perf_counter() - started
                ids += frame.ids
            return Answer(
                len(prompt), stream.stats.cached_tokens, first, sent_back(self._dialect, prompt, ids)[1]
            )


class Through:
    """A client of the gateway."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, messages: Sequence[Message]) -> Answer:
        """Return the next turn."""
        body = {"messages": [_as_chat(each) for each in messages], "tools": [CHAT_TOOL], "stream": True}
        body |= {**SAMPLING, "return_token_ids": True, "stream_options": {"include_usage": True}}
        started, first, calls, usage = time.perf_counter(), 0.0, [], {}
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                usage = event.get("usage") or usage
                for choice in event["choices"]:
                    first = first or (time.perf_counter() - started if choice["token_ids"] else 0.0)
                    calls += choice["delta"].get("tool_calls") or []
        made = tuple(
            sent_call(each["function"]["name"], each["function"]["arguments"], each["id"]) for each in calls
        )
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens")
        return Answer(usage["prompt_tokens"], cached, first, Message(role="assistant", calls=made))


SAMPLING: Mapping[str, Any] = {"max_tokens": 140, "temperature": 1.0, "seed": 7}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": TOOL.name, "description": TOOL.description, "parameters": TOOL.parameters},
}


def _as_chat(message: Message) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
        for call in message.calls
    ]
    named = {"tool_call_id": message.call_id} if message.role == "tool" else {}
    return {
        "role": message.role,
        "content": message.content,
        **named,
        **({"tool_calls": calls} if calls else {}),
    }


async def converse(client: Plain | Through, name: str) -> list[Answer]:
    """Return the turns of one conversation; its name keeps it from the caches of the others."""
    messages = [
        Message(role="system", content=f"{name}. Be brief."),
        Message(role="user", content="A cheap flight to Oslo?"),
    ]
    answers = []
    for _ in range(TURNS):
        answers.append(await client.ask(messages))
        said = answers[-1].message
        if not said.calls:
            raise RuntimeError(f"{name}: the model called no tool; its answer is {said.content!r}")
        messages += [said, *(Message(role="tool", content=SHORT, call_id=call.id) for call in said.calls)]
    return answers


async def _with_engine(kind: str, url: str) -> None:
    vocabulary = vocabulary_of(read_map(str(smollm2_map())))
    dialect = get_dialect("hermes").bind(vocabulary)
    engine = Held(make_engine(kind, name="engine", url=url), FORMS[kind])
    gateway = Gateway(engine, vocabulary, "m", model=MODEL, dialect="hermes")  # type: ignore[arg-type]
    rows: dict[str, list[Answer]] = {"plain": [], "gateway": []}
    lasts: dict[str, list[float]] = {"plain": [], "gateway": []}
    async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url, timeout=300) as http:
        clients = {"plain": Plain(engine, dialect), "gateway": Through(http)}
        for name, client in clients.items():
            await client.ask([Message(role="user", content=f"Warm {name}.")])
        for number in range(ROUNDS):
            for name, client in clients.items():
                answers = await converse(client, f"{number} {name} {time.time_ns()}")
                rows[name] += answers
                lasts[name].append(answers[-1].first)
    print(f"\n{kind}, SmolLM2: {ROUNDS} conversations of {TURNS} turns, each a call of the tool\n")
    print("| path | prompt ids | cached by the engine | recomputed | first id, ms, median | of turn 10 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in rows.items():
        total, cached = sum(each.prompt for each in found), sum(each.cached or 0 for each in found)
        reported = all(each.cached is not None for each in found)
        shown = (f"{cached:,}", f"{total - cached:,}") if reported else ("not reported", "-")
        first, last = statistics.median(each.first for each in found), statistics.median(lasts[name])
        print(f"| {name} | {total:,} | {shown[0]} | {shown[1]} | {1000 * first:.1f} | {1000 * last:.1f} |")


def run() -> None:
    """Print what is cached with and without the gateway of a model that reasons."""
    vocabulary = vocabulary_of(read_map(str(maps_directory() / "qwen/qwen3.json")))
    asyncio.run(compare(get_dialect("qwen3").bind(vocabulary), Scripted(vocabulary)))


def main(only: str = "") -> bool:
    """Print the tables; return False where the named engine cannot be had."""
    if only != "qwen3":
        run()
    if not only:
        return True
    try:
        url = url_of(only)
    except UnavailableError as error:
        print(f"{only}: {error}")
        return False
    if only == "qwen3":
        from tests.benchmarks.gateway_reasoning import compare_paths

        asyncio.run(compare_paths(url))
    else:
        asyncio.run(_with_engine(only, url))
    return True
