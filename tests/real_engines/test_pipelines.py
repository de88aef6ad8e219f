"""Pipelines on real servers: ids that pass verbatim, conversations, prefill ahead, load, faults."""

from __future__ import annotations

import re
import secrets
import urllib.request
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline, RunError
from codec_agents.engines.base import GenerationRequest, SamplingOptions, Timeouts
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.factory import make_engine
from codec_agents.exceptions import EngineTimeoutError
from codec_agents.runtime.run import RunResult
from codec_agents.server import BridgeBackend, EmbeddedServer, create_app
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from tests.real_engines.conftest import Place
from tests.real_engines.engines import CONTEXT
from tests.real_engines.lengths import sampling

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(600)]

END = "<|im_end|>"
ESSAY = "Write a long text about a journey by train from Lisbon to Oslo, with every station on the way."
LONG = 1500
"""Ids: more than any server here writes before it is interrupted."""


def chain(a: Place, b: Place, *, b_prompt: str = "Repeat:\n{draft}", ids: int = 16, **edge: Any) -> Pipeline:
    """Return a pipeline in which B reads what A wrote."""
    p = Pipeline("chain").input("q").sink("out")
    a.add_to(p, "a", Chat(user="{q}"), sampling={"max_tokens": ids})
    b.add_to(p, "b", Chat(user=b_prompt), sampling={"max_tokens": 2})
    return p.connect("q", "a").connect("a", "b.draft", **edge).connect("b", "out")


async def run(p: Pipeline, q: str = "Count from one to ten.", **more: Any) -> RunResult:
    async with p.opened():
        return await p.invoke({"q": q}, **more)


def within(part: list[int], whole: list[int]) -> bool:
    """Return whether ids are in a row within others."""
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def content_of(place: Place, ids: list[int]) -> list[int]:
    """Return ids without those that are control tokens."""
    return [token for token in ids if token not in place.vocabulary.special_ids]


async def test_what_one_model_wrote_is_in_the_next_one_s_prompt_id_by_id(smol: Place) -> None:
    result = await run(chain(smol, smol), ESSAY)
    written = content_of(smol, result.histories["a"].generated)
    assert len(written) > 10
    assert within(written, list(result.histories["b"].prompt))
    [handoff] = [h for h in result.handoffs if h.source.startswith("a")]
    assert (handoff.input_ids, handoff.dropped_ids) == (handoff.output_ids, handoff.dropped_ids)


async def test_two_engines_of_one_vocabulary_hand_over_the_same_ids(vllm: Place, llamacpp: Place) -> None:
    for a, b in ((vllm, llamacpp), (llamacpp, vllm)):
        result = await run(chain(a, b), ESSAY)
        assert within(content_of(a, result.histories["a"].generated), list(result.histories["b"].prompt))


async def test_two_vocabularies_are_translated_both_ways(llamacpp: Place, gemma: Place) -> None:
    """B reads the ids that its own tokenizer gives for A's text, asked of its server."""
    for a, b in ((llamacpp, gemma), (gemma, llamacpp)):
        result = await run(chain(a, b, b_prompt="{draft}"), ESSAY)
        written = detokenize(a.vocabulary, content_of(a, result.histories["a"].generated)).strip()
        expected = pick_tokenizer(b.vocabulary).encode_ordinary(written)
        assert len(expected) > 8
        prompt = list(result.histories["b"].prompt)
        assert written in detokenize(b.vocabulary, content_of(b, prompt))
        assert within(expected[1:], prompt)


async def test_a_bridge_has_the_ids_of_the_engine_behind_it(smol: Place) -> None:
    behind = make_engine(smol.kind, url=smol.url)
    app = create_app(BridgeBackend(behind, smol.vocabulary, name="smol"))
    options = SamplingOptions(temperature=0.0, max_tokens=8)
    with EmbeddedServer(app) as server:
        front = CodecEngine(server.url)
        for question in ("Name five animals. 🙂", "def f(x):"):
            text = f"<|im_start|>user\n{question}{END}\n<|im_start|>assistant\n"
            request = GenerationRequest(
                prompt_ids=pick_tokenizer(smol.vocabulary).encode(text),
                vocabulary=smol.vocabulary,
                model="smol",
                options=options,
            )
            through, direct = [await ids_of(engine, request) for engine in (front, behind)]
            assert through == direct
        await front.aclose()
    await behind.aclose()


async def ids_of(engine: Any, request: GenerationRequest) -> list[int]:
    async with engine.stream(request) as stream:
        return [token async for frame in stream for token in frame.ids]


async def test_a_conversation_goes_on_with_the_very_ids(smol: Place) -> None:
    p = Pipeline("talk").input("q").sink("out")
    smol.add_to(p, "bot", Chat(system="You are brief. " * 40, user="{q}"))
    p.connect("q", "bot").connect("bot", "out")
    async with p.opened():
        first = await p.invoke({"q": "Name a city."})
        second = await p.invoke({"q": "And another one?"}, after=first)
    before = [*first.histories["bot"].prompt, *first.histories["bot"].generated]
    assert list(second.histories["bot"].prompt)[: len(before)] == before
    cached = second.usage["bot"].cached_ids
    assert cached is not None
    assert cached >= 128, "the engine has read the first exchange already"


@pytest.mark.parametrize(
    "smol", [pytest.param("vllm", marks=pytest.mark.engines_all), "llamacpp"], indirect=True
)
async def test_what_is_sent_ahead_is_found_in_the_cache(smol: Place) -> None:
    """B's prompt begins with less than a block of vLLM's cache; what completes the block is A's."""
    found = {}
    for ahead in (False, True):
        edge = {"prefill": "ahead", "prefill_stride": 16} if ahead else {}
        begun = f"{ahead} {secrets.token_hex(4)}. " + "Read. " * 40
        p = chain(smol, smol, ids=64 if ahead else 2, b_prompt=f"{begun}\n{{draft}}", **edge)
        result = await run(p, ESSAY)
        found[ahead] = result.usage["b"]
        if ahead:
            prompt = list(result.histories["b"].prompt)
            written = content_of(smol, result.histories["a"].generated)
            before = next(at for at in range(len(prompt)) if prompt[at : at + 8] == written[:8])
            assert len(written) > 48
            assert before < 128 < before + len(written)
    assert found[True].prefill_requests > 0
    assert found[True].cached_ids >= 128 > found[False].cached_ids


async def test_thirty_two_runs_at_once(smol: Place) -> None:
    p = Pipeline("many").input("q").sink("out")
    smol.add_to(p, "bot", Chat(user="{q}"), sampling={"max_tokens": 4})
    p.connect("q", "bot").connect("bot", "out")
    results: list[RunResult] = []

    async def one(number: int) -> None:
        results.append(await p.invoke({"q": f"Count from {number}."}))

    async with p.opened(), anyio.create_task_group() as group:
        for number in range(32):
            group.start_soon(one, number)
    assert len(results) == 32
    assert {result.outcomes["bot"] for result in results} == {"finished"}
    assert all(1 <= len(result.histories["bot"].generated) <= 4 for result in results)


RUNNING = {
    "vllm": r"vllm:num_requests_running\{.*\} ([\d.]+)",
    "llamacpp": r"llamacpp:requests_processing ([\d.]+)",
}


def running(smol: Place) -> int:
    """Return how many requests a server works on, as its own metrics tell."""
    with urllib.request.urlopen(f"{smol.url}/metrics", timeout=30) as answer:
        found = re.search(RUNNING[smol.kind], answer.read().decode())
    assert found is not None
    return round(float(found[1]))


async def until_idle(smol: Place) -> None:
    with anyio.fail_after(60):
        while running(smol):  # noqa: ASYNC110 - another process tells nothing by itself
            await anyio.sleep(0.05)


async def test_a_reader_that_leaves_frees_the_engine(smol: Place) -> None:
    p = Pipeline("left").input("q").sink("out", text=True)
    smol.add_to(p, "bot", Chat(user="{q}"), sampling=sampling(smol.kind, LONG))
    p.connect("q", "bot").connect("bot", "out")
    async with p.opened():
        async with p.run({"q": ESSAY}) as run:
            async for _ in run.text("out"):
                assert running(smol) == 1
                break
        await until_idle(smol)


async def test_a_time_out_frees_the_engine(smol: Place) -> None:
    engine = make_engine(smol.kind, url=smol.url)
    text = f"<|im_start|>user\n{ESSAY}{END}\n<|im_start|>assistant\n"
    request = GenerationRequest(
        prompt_ids=pick_tokenizer(smol.vocabulary).encode(text),
        vocabulary=smol.vocabulary,
        model="smol",
        options=SamplingOptions(**sampling(smol.kind, LONG)),
        timeouts=Timeouts(whole=0.5),
    )
    async with aclosing(engine):
        with pytest.raises(EngineTimeoutError):
            await ids_of(engine, request)
        await until_idle(smol)


@pytest.mark.engines_all
async def test_an_answer_that_would_not_fit_behind_its_prompt_ends_at_the_context(vllm: Place) -> None:
    """The generate call shortens it."""
    p = Pipeline("long").input("q").sink("out")
    vllm.add_to(p, "bot", Chat(user="{q}"), sampling={"max_tokens": 1024})
    p.connect("q", "bot").connect("bot", "out")
    words = CONTEXT - 24  # beside what the chat writes around them
    said = (await run(p, "word " * words)).histories["bot"]
    assert CONTEXT - 24 < len(said.prompt) < len(said.prompt) + len(said.generated) <= CONTEXT


CALL = '{"name": "weather", "arguments": {"city": "(Oslo|Rome)"}}'


async def test_a_call_that_the_engine_is_made_to_write_is_run(smol: Place) -> None:
    asked = []

    def weather(city: str) -> str:
        """Say the weather.

        Args:
            city: where.
        """
        asked.append(city)
        return "17 degrees"

    regex = "<tool_call>\n" + CALL.replace("{", r"\{").replace("}", r"\}") + "\n</tool_call>"
    forced = {"regex": regex}
    if smol.kind == "llamacpp":
        opening, closing = CALL.replace('"', r"\"").split("(Oslo|Rome)")
        start, end = r"<tool_call>\n", r"\n</tool_call>"
        forced = {"grammar": f'root ::= "{start}{opening}" ("Oslo" | "Rome") "{closing}{end}"'}
    p = Pipeline("forced").input("q").sink("out")
    sampling = {"structured": forced, "max_tokens": 60}
    smol.add_to(
        p, "bot", Chat(user="{q}"), tools=[weather], sampling=sampling, policy={"limits": {"turns": 2}}
    )
    p.connect("q", "bot").connect("bot", "out")
    with pytest.raises(RunError, match="limit of 2 turns"):  # each turn has to be a call
        await run(p, "How is the weather?")
    assert len(asked) == 2
    assert set(asked) <= {"Oslo", "Rome"}
