"""`vllm-router` in front of two workers: ids pass exactly, and a session stays on one worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.factory import make_engine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.server import BridgeBackend, EmbeddedServer, ScriptedBackend, create_app
from codec_agents.server.recording import RecordingExchanges
from codec_agents.testing import Call, PromptView, Say
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from tests.real_engines.conftest import Place
from tests.real_engines.engines import prepare_router, router
from tests.real_engines.places import UnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    try:
        prepare_router()
    except UnavailableError as error:
        pytest.skip(str(error))


MOST_SESSIONS = 24
"""Of which some go to either worker. Which ones depends on the ports."""


def request(smol: Place, number: int = 1, **options: Any) -> GenerationRequest:
    turn = f"<|im_start|>user\nCount from {number} to ten. 🙂<|im_end|>\n<|im_start|>assistant\n"
    return GenerationRequest(
        prompt_ids=pick_tokenizer(smol.vocabulary).encode(turn),
        vocabulary=smol.vocabulary,
        model="smol",
        options=SamplingOptions(temperature=0.0, max_tokens=6, **options),
    )


async def ids_of(engine: Any, asked: GenerationRequest) -> list[int]:
    async with engine.stream(asked) as stream:
        return [token async for frame in stream for token in frame.ids]


@pytest.mark.engines_all
async def test_ids_of_vllm_pass_a_router(vllm: Place) -> None:
    workers = [vllm.url, vllm.url.replace("127.0.0.1", "localhost")]
    with router(workers) as front:
        engine, direct = VllmEngine(front.url), make_engine("vllm", url=vllm.url)
        for number in range(4):
            asked = request(vllm, number, session=f"session-{number}")
            assert await ids_of(engine, asked) == await ids_of(direct, asked)
        for used in (engine, direct):
            await used.aclose()


@pytest.fixture
def bridges(llamacpp: Place) -> Iterator[tuple[list[str], list[RecordingExchanges]]]:
    """Two Codec servers in front of one engine, and what each was asked."""
    with ExitStack() as stack:
        urls, seen = [], []
        for _ in range(2):
            exchanges = RecordingExchanges()
            backend = BridgeBackend(
                make_engine("llamacpp", url=llamacpp.url), llamacpp.vocabulary, name="smol"
            )
            server = stack.enter_context(EmbeddedServer(create_app(backend, exchanges=exchanges)))
            urls.append(server.url)
            seen.append(exchanges)
        yield urls, seen


async def test_frames_pass_a_router_and_a_session_stays_on_its_worker(
    llamacpp: Place, bridges: tuple[list[str], list[RecordingExchanges]]
) -> None:
    urls, seen = bridges
    with router(urls) as front:
        engine, direct = CodecEngine(front.url), make_engine("llamacpp", url=llamacpp.url)
        for session in range(MOST_SESSIONS):
            before = [len(exchanges.generations) for exchanges in seen]
            for _ in range(2):
                asked = request(llamacpp, session, session=f"session-{session}")
                assert await ids_of(engine, asked) == await ids_of(direct, request(llamacpp, session))
            counted = [len(exchanges.generations) - n for exchanges, n in zip(seen, before, strict=True)]
            assert sorted(counted) == [0, 2]
            if session and all(exchanges.generations for exchanges in seen):
                break
        for used in (engine, direct):
            await used.aclose()
    assert all(exchanges.generations for exchanges in seen), "all sessions went to one worker"


RUNS = 16
"""With fewer, chance might send all to one worker."""


def script(prompt: PromptView) -> Say | Call:
    """Call a tool twice, and then answer."""
    return Call("look") if prompt.turn < 3 else Say("done")


def look() -> str:
    """Look."""
    return "nothing"


@pytest.fixture
def scripted() -> Iterator[tuple[list[str], list[RecordingExchanges]]]:
    """Two scripted Codec servers, and what each was asked."""
    with ExitStack() as stack:
        urls, seen = [], []
        for _ in range(2):
            exchanges = RecordingExchanges()
            backend = ScriptedBackend()
            backend.add("m", bundled_map("demo/words"), script)
            server = stack.enter_context(EmbeddedServer(create_app(backend, exchanges=exchanges)))
            urls.append(server.url)
            seen.append(exchanges)
        yield urls, seen


async def test_the_turns_of_a_run_stay_on_one_worker_though_no_session_is_declared(
    scripted: tuple[list[str], list[RecordingExchanges]],
) -> None:
    urls, seen = scripted
    with router(urls) as front:
        engine = CodecEngine(front.url)
        p = Pipeline("loop").input("q").sink("out")
        p.model("m", engine=engine, model="m", map="demo/words", prompt="{q}", tools=[look])
        p.connect("q", "m.q").connect("m.answer", "out")
        for number in range(RUNS):
            before = [len(exchanges.generations) for exchanges in seen]
            result = await p.invoke({"q": f"Run {number}."})
            assert result.text == {"out": "done"}
            counted = [len(exchanges.generations) - n for exchanges, n in zip(seen, before, strict=True)]
            assert sorted(counted) == [0, 3]
        await engine.aclose()
    assert all(exchanges.generations for exchanges in seen), "all runs went to one worker"
    told = [each.request.headers["x-session-id"] for exchanges in seen for each in exchanges.generations]
    assert len(set(told)) == RUNS, "one session a run"
