"""Handoffs on a real vLLM: shared beginnings, requests ahead, kept prefixes; `make test-engines` starts it.

The server reports cached ids (`--enable-prompt-tokens-details`).
"""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import GenerationRequest, SamplingOptions, least_ids
from codec_agents.engines.factory import make_engine
from codec_agents.engines.pool import EnginePool
from codec_agents.engines.vllm import VllmEngine
from codec_agents.runtime.model.shared_prefix import SHARED
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.live_engines import live_engine

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(900)]

ENGINE = "vllm"
BRANCHES = ("a", "b", "c", "d")
BLOCK = 128
"""Ids in a block of vLLM's cache on a CPU; only whole blocks are found."""

GREEDY = {"max_tokens": 4, "temperature": 0}


def fresh() -> str:
    """Return a beginning that no cache holds."""
    return f"[{secrets.token_hex(8)}] "


async def test_branches_over_one_document_find_it_in_the_cache() -> None:
    url, tokenizer_map, model = live_engine("vllm")
    p = Pipeline("fan").input("document").sink("out", text=False).join("all").connect("all", "out")
    async with aclosing(VllmEngine(url)) as engine:
        for name in BRANCHES:
            prompt = f"{{document}} {name}"
            p.model(name, engine=engine, model=model, map=tokenizer_map, prompt=prompt, sampling=GREEDY)
            p.connect("document", f"{name}.document").connect(f"{name}.answer", "all")
        result = await p.invoke({"document": fresh() + "The train is late again. " * 110})
    found = sorted(usage.cached_ids or 0 for usage in result.usage.values())
    assert found[0] < BLOCK, "one of them reads it"
    assert found[1] >= SHARED, "all others find it"


@pytest.mark.engines_all
async def test_what_is_sent_ahead_is_found() -> None:
    """The ids are not compared with a run without: a batch with other requests rounds in other places."""
    url, tokenizer_map, model = live_engine("vllm")
    async with aclosing(VllmEngine(url, api="completions")) as engine:
        p = Pipeline("chain").input("task").sink("out", text=False)
        shared: dict[str, Any] = {"engine": engine, "model": model, "map": tokenizer_map}
        sampling = {"max_tokens": 300, "min_tokens": 300, "temperature": 0}
        p.model("a", prompt="{task} Tell a story.", sampling=sampling, **shared)
        p.model("b", prompt="{task} Read: {draft}", sampling=GREEDY, **shared)
        p.connect("task", "a.task").connect("task", "b.task").connect("b.answer", "out")
        p.connect("a.answer", "b.draft", prefill="auto", prefill_stride=BLOCK)
        result = await p.invoke({"task": fresh()})
    report = result.handoffs[-1]
    assert report.prefilled_ids >= BLOCK
    assert report.cached_ids is not None
    assert report.cached_ids >= report.prefilled_ids - BLOCK
    generated, prompt = result.histories["a"].generated, result.histories["b"].prompt
    assert any(prompt[at : at + 290] == generated[:290] for at in range(len(prompt)))


async def test_a_further_run_reads_only_what_is_new_on_the_replica_that_has_the_rest() -> None:
    url, tokenizer_map, model = live_engine("vllm")
    replicas = [VllmEngine(url, name=f"E[{number}]") for number in (1, 2)]
    async with aclosing(EnginePool(replicas, name="E")) as pool:
        p = Pipeline("chat").input("q").sink("out", text=False)
        chat = Chat(system=fresh() + "You know all about trains. " * 40, user="{q}")
        p.model("m", engine=pool, model=model, map=tokenizer_map, prompt=chat, sampling=GREEDY)
        p.connect("q", "m.q").connect("m.answer", "out")
        first = await p.invoke({"q": "When?"})
        second = await p.invoke({"q": "And then?"}, after=first)
    history = first.histories["m"]
    kept = len(history.prompt) + len(history.generated) - 1  # the last id was sampled and not read
    assert second.usage["m"].cached_ids is not None
    assert second.usage["m"].cached_ids >= kept // BLOCK * BLOCK


TIE = 0.25
"""Log probabilities nearer than this are equal as far as bfloat16 tells: two of its steps at logits between
16 and 32."""

PROMPTS = [
    "The train leaves Lisbon in the morning and reaches Oslo three days later. ",
    "def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2) ",
    "Ein Reisender steht am Bahnhof und wartet auf den Zug nach Norden. ",
    "Apples, pears, plums, cherries and grapes grow in this garden by the sea. ",
    "The museum opens at ten, and the library beside it closes at six. ",
    "In the beginning there was a river, and along the river there were towns. ",
]


def apart(kind: str, place: int) -> dict[str, Any]:
    """Return options by which a request finds nothing that another place's requests have left in a cache."""
    if kind == "vllm":
        return {"cache_salt": f"{secrets.token_hex(8)}-{place}"}
    return {"extra": {"body": {"id_slot": place, "cache_prompt": bool(place)}}}


@pytest.mark.engines_all
@pytest.mark.parametrize("kind", ["vllm", "llamacpp"])
async def test_reading_ahead_changes_an_id_only_where_two_are_as_good_as_equal(kind: str) -> None:
    """What a cache holds changes how the rest is computed, and so how it is rounded."""
    url, tokenizer_map, model = live_engine(kind)
    vocabulary = vocabulary_of(tokenizer_map)
    same = 0
    async with aclosing(make_engine(kind, url=url, options={"handshake": "off"})) as engine:
        for text in PROMPTS:
            prompt = pick_tokenizer(vocabulary).encode_ordinary(text * 20)[:300]
            found = []
            for ahead in (False, True):
                options = SamplingOptions(max_tokens=12, temperature=0, logprobs=2, **apart(kind, int(ahead)))
                asked = GenerationRequest(
                    prompt_ids=prompt, vocabulary=vocabulary, model=model, options=options, stream_interval=16
                )
                if ahead:
                    beginning = {
                        "prompt_ids": prompt[:BLOCK],
                        "options": options.of_prefill(least_ids(engine)),
                    }
                    await _read(engine, msgspec.structs.replace(asked, **beginning))
                found.append(await _read(engine, asked))
            (plain, top, cold), (again, _, warm) = found
            assert cold.cached_tokens == 0
            assert warm.cached_tokens == BLOCK, "what was read ahead is found"
            place = next(
                (n for n, pair in enumerate(zip(plain, again, strict=True)) if len({*pair}) > 1), None
            )
            if place is None:
                same += 1
                continue
            (_, first), (_, second) = top[place]
            assert first - second < TIE, f"{text!r}: id {place} differs, by {first - second:.2f}"
    print(f"{kind}: the same ids with and without reading ahead for {same} of {len(PROMPTS)} prompts")


async def _read(engine: Any, asked: GenerationRequest) -> tuple[list[int], list[Any], Any]:
    """Return the ids of an answer, the two most probable ones in each place, and the measurements."""
    ids: list[int] = []
    top: list[Any] = []
    async with engine.stream(asked) as frames:
        async for frame in frames:
            ids += frame.ids
            top += frame.values.top if frame.values is not None else ()
        return ids, top, frames.stats
