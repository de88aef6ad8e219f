"""What was seen to go wrong around real engines: each is found, or right."""

from __future__ import annotations

import json
import secrets
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.to_thread
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.factory import make_engine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.stock.rendering import engine_prompt
from codec_agents.events import GenerationStarted
from codec_agents.exceptions import MapMismatchError
from codec_core.building import build_from_tokenizer_json
from codec_core.maps import parse_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.real_engines import models
from tests.real_engines.conftest import Place
from tests.real_engines.engines import llamacpp as llamacpp_server
from tests.real_engines.places import UnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(600)]

LONG = "Write a long text about a journey by train."


def request(smol: Place, text: str, **options: Any) -> GenerationRequest:
    """Return a greedy request for a user's turn."""
    turn = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    return GenerationRequest(
        prompt_ids=pick_tokenizer(smol.vocabulary).encode(turn),
        vocabulary=smol.vocabulary,
        model="smol",
        options=SamplingOptions(**{"temperature": 0.0, "max_tokens": 16, **options}),
    )


ALTERED = {
    "no digits by themselves": lambda document: document["pre_tokenizer"]["pretokenizers"].pop(0),
    "another order of merges": lambda document: document["model"]["merges"].reverse(),
}


@cache
def altered(name: str) -> Vocabulary:
    """Return the vocabulary of a map of another tokenizer; building it takes seconds."""
    document = json.loads((models.smollm2_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    ALTERED[name](document)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return vocabulary_of(parse_map(build_from_tokenizer_json(path, map_id="engines/altered")))


@pytest.mark.parametrize(
    "name",
    ["no digits by themselves", pytest.param("another order of merges", marks=pytest.mark.engines_all)],
)
async def test_a_map_that_encodes_otherwise_is_refused(smol: Place, name: str) -> None:
    other = altered(name)
    engine = make_engine(smol.kind, url=smol.url)
    with pytest.raises(MapMismatchError, match="its own tokenizer"):
        await engine.check(GenerationRequest(prompt_ids=[1], vocabulary=other, model="smol"))  # type: ignore[attr-defined]
    await engine.aclose()


async def test_reasoning_without_a_place_in_the_map_is_left_out_with_a_warning(
    vllm: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """This server takes all before a mark of the end of reasoning for reasoning; the map has no such mark."""
    engine = OpenAIEngine(vllm.url)
    async with engine.stream(request(vllm, "Count to ten.", max_tokens=4)) as stream:
        ids = [token async for frame in stream for token in frame.ids]
    await engine.aclose()
    assert "reasoning" in caplog.text
    assert ids == []


async def test_an_engine_renders_a_prompt_that_the_map_can_write(smol: Place) -> None:
    chat = Chat(system="Be brief.", user="Rewrite:\n{draft}")
    engine = make_engine(smol.kind, url=smol.url)
    prompt = await engine_prompt(engine, chat, smol.vocabulary, model="smol")
    await engine.aclose()
    assert prompt.slots == ("draft",)
    assert "Be brief." in "".join(piece.text or "" for piece in prompt.pieces)


async def test_a_prompt_after_another_run_tells_what_it_keeps(smol: Place) -> None:
    p = Pipeline("talk").input("q").sink("out")
    smol.add_to(p, "bot", Chat(user="{q}"))
    p.connect("q", "bot").connect("bot", "out")
    async with p.opened():
        first = await p.invoke({"q": "Name a city."})
        async with p.run({"q": "And another?"}, after=first) as run:
            kept = [event.kept_prefix async for event in run if isinstance(event, GenerationStarted)]
    said = first.histories["bot"]
    assert kept == [len(said.prompt) + len(said.generated)]


async def test_what_is_sent_ahead_asks_for_one_id_whatever_the_answer_has_to_be(vllm: Place) -> None:
    p = Pipeline("ahead").input("q").sink("out")
    vllm.add_to(p, "a", Chat(user="{q}"), sampling={"max_tokens": 64, "min_tokens": 64})
    b = {"max_tokens": 8, "min_tokens": 8, "logprobs": 1, "structured": {"regex": "[a-z ]+"}}
    begun = f"{secrets.token_hex(4)}. " + "Read. " * 40  # less than a block of the cache
    vllm.add_to(p, "b", Chat(user=f"{begun}\n{{draft}}"), sampling=b)
    p.connect("q", "a").connect("a", "b.draft", prefill="ahead", prefill_stride=16).connect("b", "out")
    async with p.opened():
        result = await p.invoke({"q": f"{LONG} Begin with the weather."})
    assert result.usage["b"].prefill_requests > 0
    assert result.usage["b"].cached_ids >= 128
    assert len(result.histories["b"].generated) == 8


async def test_a_server_that_is_killed_and_started_again_goes_on_from_the_exact_prefix() -> None:
    try:
        server = llamacpp_server(slots=1, name="killed")
    except UnavailableError as error:
        pytest.skip(str(error))
    vocabulary_map = models.smollm2_map()
    with server:
        p = Pipeline("killed").input("q").sink("out")
        p.engine("engine", kind="llamacpp", url=server.url)
        retries = {"retry": {"attempts": 20, "initial": 0.2, "max": 2.0}}
        p.model(
            "bot", engine="engine", map=str(vocabulary_map), prompt=Chat(user="{q}"), policy=retries,
            sampling={"max_tokens": 40, "temperature": 0.0},
        )  # fmt: skip
        p.connect("q", "bot").connect("bot", "out")
        async with p.opened():
            expected = list((await p.invoke({"q": LONG})).histories["bot"].generated)
            came: list[int] = []
            prefix: list[int] = []
            killed: list[int] = []
            async with p.run({"q": LONG}) as run:
                async for ids in run.ids("out"):
                    came += ids
                    if len(came) >= 10 and not killed:
                        killed.append(server.pid)
                        prefix = list(came)
                        server.kill()
                        await anyio.to_thread.run_sync(server.start, server.port)
                await run.wait()
    result = run.result
    assert result.usage["bot"].retries >= 1
    # Behind the prefix it is computed in other batches: of two ids that are as good as equal either may come.
    assert prefix == expected[: len(prefix)]
    assert list(result.histories["bot"].generated)[: len(prefix)] == prefix
    assert len(came) > len(prefix)
