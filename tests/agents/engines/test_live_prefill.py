"""Answers from real engines are the same ids whether their prompts were sent ahead or not."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from itertools import zip_longest
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.factory import make_engine
from codec_agents.events import GenerationFinished, GenerationStarted
from codec_agents.exceptions import LimitExceededError
from codec_agents.testing import Say, ScriptedModel
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.agents.engines.live_engines import each, live_engine
from tests.agents.engines.live_markers import reasoning_map
from tests.agents.engines.test_live_handoffs import PROMPTS, TIE
from tests.agents.runtime.model.test_prefill import Waiting

pytestmark = [pytest.mark.anyio, pytest.mark.engines_all, pytest.mark.timeout(900)]

KINDS = ("vllm", "llamacpp", "sglang")
WAYS: list[dict[str, Any]] = [
    {"prefill": "auto", "prefill_stride": 128},
    {"prefill": "auto", "prefill_stride": 256},
    {"prefill": "ahead", "prefill_stride": 64},
    {},
]
"""The last is what is done where nothing is declared."""

DRAFT = 360
"""Ids of a draft, more than two strides."""

Turns = list[tuple[list[int], list[int]]]


class Watched:
    """An engine that tells when it has answered a request ahead."""

    def __init__(self, inner: Any, ahead: anyio.Event) -> None:
        self.inner = inner
        self.requests = 0
        self._ahead = ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[Any]:
        is_ahead = request.options.max_tokens <= 1
        async with self.inner.stream(request) as frames:
            yield frames
        if is_ahead:
            self.requests += 1
            self._ahead.set()


def salted(kind: str, ahead: bool) -> dict[str, Any]:
    """Return options by which a run finds nothing in the cache but what it has sent ahead itself."""
    if kind == "llamacpp":
        return {"extra": {"body": {"id_slot": int(ahead), "cache_prompt": ahead}}}
    return {"cache_salt": secrets.token_hex(8)}


def weather(city: str) -> str:
    """Say the weather of a city."""
    return f"17 degrees in {city}"


REGEX = r'<tool_call>\n\{"name": "weather", "arguments": \{"city": "(Oslo|Rome)"\}\}\n</tool_call>'
GRAMMAR = (
    r'root ::= "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"" ("Oslo" | "Rome") '
    r'"\"}}\n</tool_call>"'
)


def fields_of(case: str, kind: str) -> dict[str, Any]:
    """Return the model's fields in one case."""
    sampling: dict[str, Any] = {"max_tokens": 12, "temperature": 0}
    read = Chat(user="Say what this is about:\n{draft}")
    if case == "reasoning":
        # It is open when the answer begins.
        return {
            "dialect": "smollm3",
            "prompt": Chat(user="{draft}", thinking="forced"),
            "sampling": {**sampling, "max_tokens": 24},
        }
    if case == "tools":
        form = {"grammar": GRAMMAR} if kind == "llamacpp" else {"regex": REGEX}
        limits = {"limits": {"turns": 2}}
        forced = {**sampling, "max_tokens": 60, "structured": form}
        return {"prompt": read, "tools": [weather], "policy": limits, "sampling": forced}
    return {"prompt": read, "sampling": sampling}


async def turns_of(engine: Any, held: anyio.Event, case: str, kind: str, draft: str, **edge: Any) -> Turns:
    """Return the prompt and the ids of each turn of a model that reads a draft."""
    _, tokenizer_map, model = live_engine(kind)
    tokenizer_map = reasoning_map() if case == "reasoning" else tokenizer_map
    fields = fields_of(case, kind)
    fields["sampling"] |= salted(kind, edge.get("prefill") != "off")
    if case == "stop text":
        fields["sampling"]["stop"] = edge.pop("stop")
    fields["policy"] = {"on_length": "accept", **fields.get("policy", {})}
    a = Waiting(ScriptedModel(script=lambda _: Say(draft), ids_a_frame=8), held, DRAFT - 32)
    p = Pipeline("ahead").input("q").sink("out", text=False)
    p.model("a", engine=a, map=tokenizer_map, prompt="{q}", sampling={"max_tokens": DRAFT})
    p.model("b", engine=engine, model=model, map=tokenizer_map, **fields)
    p.connect("q", "a.q").connect("a.answer", "b.draft", **edge).connect("b.answer", "out")
    prompts: list[list[int]] = []
    found: Turns = []
    try:
        async with p.run({"q": "go"}) as run:
            async for event in run:
                if isinstance(event, GenerationStarted) and event.node == "b":
                    prompts.append(list(event.prompt_ids))
                elif isinstance(event, GenerationFinished) and event.node == "b":
                    found.append((prompts[-1], list(event.generated_ids)))
            await run.wait()
    except LimitExceededError:  # of a model that has to call in each turn
        pass
    return found


def first_difference(turns: Turns, others: Turns) -> Iterator[tuple[list[int], int | None, int | None]]:
    """Yield what comes before the first id that differs, and both ids; turns behind it may differ."""
    for (prompt, ids), (_, other) in zip(turns, others, strict=True):
        for place, (one, two) in enumerate(zip_longest(ids, other)):
            if one != two:
                yield [*prompt, *ids[:place]], one, two
                return


async def between_best(engine: Any, vocabulary: Vocabulary, model: str | None, prompt: list[int]) -> float:
    """Return how far apart the log probabilities of the two most probable ids are."""
    options = SamplingOptions(max_tokens=1, temperature=0, logprobs=2)
    asked = GenerationRequest(prompt_ids=prompt, vocabulary=vocabulary, model=model, options=options)
    async with engine.stream(asked) as frames:
        [(_, first), (_, second)] = [
            pair async for frame in frames if frame.values for row in frame.values.top for pair in row
        ]
    return float(first - second)


@pytest.mark.parametrize("case", ["plain", "stop text", "tools", "reasoning"])
@pytest.mark.parametrize("kind", each(*KINDS))
async def test_an_answer_is_the_same_ids_whatever_is_sent_ahead(kind: str, case: str) -> None:
    """Where two ids are as good as equal, what a cache holds may decide: then both have to be such.

    Turns with calls end by a stop id.
    """
    if kind == "sglang" and case == "tools":
        pytest.skip("its turns of calls are not forced here")
    url, tokenizer_map, model = live_engine(kind)
    vocabulary = vocabulary_of(reasoning_map() if case == "reasoning" else tokenizer_map)
    options = {"handshake": "off", **({"api": "generate"} if kind == "sglang" else {})}
    same = 0
    async with aclosing(make_engine(kind, url=url, options=options)) as inner:
        for way, text in zip(WAYS, PROMPTS, strict=False):
            draft = text * 40
            at_once, held = anyio.Event(), anyio.Event()
            at_once.set()
            stop: dict[str, Any] = {}
            if case == "stop text":
                [(_, whole)] = await turns_of(inner, at_once, "plain", kind, draft, prefill="off")
                stop["stop"] = [vocabulary.token_bytes(whole[len(whole) // 2]).decode()]
            plain = await turns_of(inner, at_once, case, kind, draft, prefill="off", **stop)
            watched = Watched(inner, held)
            if kind == "vllm" and not way:  # its answers tell whether it reports cached ids; none did here
                watched.reports_cached_ids = True  # type: ignore[attr-defined]
            with anyio.fail_after(300):
                ahead = await turns_of(watched, held, case, kind, draft, **way, **stop)
            assert watched.requests, "something was sent ahead"
            if case == "stop text":
                assert len(plain[0][1]) < len(whole)
            if case == "tools":
                assert len(plain) == 2
            different = next(first_difference(plain, ahead), None)
            if different is None:
                assert plain == ahead
                same += 1
                continue
            before, one, two = different
            gap = await between_best(inner, vocabulary, model, before)
            assert gap < TIE, f"{way}, {text!r}: {one} and {two} behind {len(before)} ids, {gap:.2f} apart"
    print(f"{kind}, {case}: the same ids with and without for {same} of {len(WAYS)} ways")
