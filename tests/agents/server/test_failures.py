"""Failures of the server's own, and answers that are not complete."""

import json
import re
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from codec_agents.engines.base import GenerationRequest
from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.testing import Cut, EmbeddedEngine, Raw, Say, Stop
from codec_core.frames import CodecFrame, decoder
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map

pytestmark = pytest.mark.asyncio


class Failing(ScriptedBackend):
    """Fails before its first frame, in a way that nothing foresees."""

    @asynccontextmanager
    async def generate(self, job):
        raise RuntimeError("internal secret: hunter2 at /home/user/private.py")
        yield


class Ending(ScriptedBackend):
    """Ends its answers with a reason."""

    reason = "error"

    @asynccontextmanager
    async def generate(self, job):
        async def frames():
            yield CodecFrame((20, 21), done=False)
            yield CodecFrame((), done=True, finish_reason=self.reason)

        yield frames()


class Unclosable(ScriptedBackend):
    """Cannot be closed."""

    @asynccontextmanager
    async def opened(self):
        yield
        raise OSError("the disk is full")


async def test_an_error_of_ending_is_raised_in_a_thread_and_in_a_loop(words):
    def server():
        return EmbeddedServer(create_app(Unclosable.of(words, lambda _: "x")))

    with pytest.raises(OSError, match="full"):
        async with server():
            pass
    with pytest.raises(OSError, match="full"), server():
        pass


class Closing(ScriptedBackend):
    """Tells whether it is open."""

    is_open = False

    @asynccontextmanager
    async def opened(self):
        self.is_open = True
        yield
        self.is_open = False


async def test_a_server_that_is_left_by_a_cancellation_ends(words):
    backend = Closing.of(words, lambda _: "x")
    with anyio.CancelScope() as scope:
        async with EmbeddedServer(create_app(backend)) as server, httpx.AsyncClient() as client:
            assert (await client.get(f"{server.url}/health")).status_code == 200
            scope.cancel()
            await anyio.sleep_forever()
    assert (server.connections, backend.is_open) == (0, False)


async def test_an_engine_ends_its_server_though_it_is_cancelled(words):
    engine = EmbeddedEngine(lambda _: "x")
    async with engine.stream(GenerationRequest(prompt_ids=[20], vocabulary=words)) as frames:
        assert [frame.done async for frame in frames][-1]
    [running] = engine._running.values()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.aclose()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{running.server.url}/health")


async def test_an_engine_with_a_server_of_its_own_tells_maps_of_one_id_apart():
    """Maps that were made in memory have no hash by which client and server could see that they differ."""
    maps = [small_map(markers) for markers in (["<a>"], ["<a>", "<b>"], ["<a>", "<b>", "<c>"])]
    first, *others = [vocabulary_of(source) for source in maps]
    assert all(other.id == first.id and other.hash is None for other in others)
    engine = EmbeddedEngine(lambda prompt: [Raw([prompt.vocabulary.size - 1]), Stop("length")])
    for vocabulary in (first, *others, first):
        request = GenerationRequest(prompt_ids=[20], vocabulary=vocabulary)
        async with engine.stream(request) as frames:
            ids = [token async for frame in frames for token in frame.ids]
        assert ids == [vocabulary.size - 1]
    await engine.aclose()


def serving(backend, words):
    return EmbeddedServer(create_app(backend.of(words, lambda _: [Say("x"), Stop("length")])))


async def post(server, **body):
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.post("/v1/completions", json={"prompt": [20], **body})


async def test_a_client_is_told_an_id_and_the_log_the_rest(words, caplog):
    async with serving(Failing, words) as server:
        answer = await post(server)
        assert server.app.exchanges.failed == 1
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal_error")
    # The whole sentence: the error that arrives is a group, whose own text would not tell.
    assert re.fullmatch(
        "the server failed; the server's log has the reason under the id [0-9a-f]{12}", error["message"]
    )
    assert "hunter2" not in answer.text
    assert error["message"].split()[-1] in caplog.text
    assert "hunter2" in caplog.text


@pytest.mark.parametrize("reason", ["error", "abort"])
async def test_an_answer_that_the_model_did_not_finish_is_a_failure(words, reason, monkeypatch):
    """OpenAI's clients take any finish reason for a complete answer: they are told by what they raise on."""
    monkeypatch.setattr(Ending, "reason", reason)
    async with serving(Ending, words) as server:
        whole = await post(server)
        events = (await post(server, stream=True)).text
        frames = decoder("msgpack").feed((await post(server, stream_format="msgpack")).content)
        assert server.app.exchanges.failed == 3
    assert (whole.status_code, whole.json()["error"]["code"]) == (502, "generation_failed")
    parts = [json.loads(line[6:]) for line in events.split("\n\n") if line.startswith("data: {")]
    assert [part["error"]["code"] for part in parts if "error" in part] == ["generation_failed"]
    assert (frames[-1].done, frames[-1].finish_reason) == (True, reason)


async def test_a_finished_answer_is_none(words):
    async with serving(ScriptedBackend, words) as server:
        events = (await post(server, stream=True)).text
        assert server.app.exchanges.failed == 0
    assert '"error"' not in events


async def test_an_answer_that_is_cut_off_counts_as_failed(words):
    app = create_app(ScriptedBackend.of(words, lambda _: [Say("half"), Cut()]))
    async with EmbeddedServer(app) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(server, stream=True)
        assert server.app.exchanges.failed == 1
