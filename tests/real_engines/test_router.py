"""`vllm-router` in front of two workers: ids pass exactly, and a session stays on one worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.factory import make_engine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.server import BridgeBackend, EmbeddedServer, create_app
from codec_agents.server.recording import RecordingExchanges
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
        for session in range(6):
            before = [len(exchanges.generations) for exchanges in seen]
            for _ in range(2):
                asked = request(llamacpp, session, session=f"session-{session}")
                assert await ids_of(engine, asked) == await ids_of(direct, request(llamacpp, session))
            counted = [len(exchanges.generations) - n for exchanges, n in zip(seen, before, strict=True)]
            assert sorted(counted) == [0, 2]
        for used in (engine, direct):
            await used.aclose()
    assert all(exchanges.generations for exchanges in seen), "all sessions went to one worker"
