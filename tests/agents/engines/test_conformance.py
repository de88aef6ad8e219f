"""The conformance test: engines that keep to the contract pass, and each breach is named."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from codec_agents.exceptions import EngineError
from codec_agents.testing import (
    Call,
    ConformanceError,
    EmbeddedEngine,
    Say,
    ScriptedEngine,
    Think,
    check_engine,
)
from codec_core.frames import CodecFrame
from codec_core.tokenizer import pick_tokenizer
from tests.agents.engines.frame_streams import FrameStream
from tests.agents.engines.wires import WIRES, FaultyServer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

TEXT = "one two three four five six"


def speaks(prompt):
    yield Think("well \U0001f9ff now")
    yield Say(f"you said {prompt.user!r}")
    yield Call("weather", city="Oslo")


@pytest.mark.parametrize("name", [name for name in WIRES if name != "openai"])
async def test_every_engine_that_takes_ids_continues(words, chat, name):
    wire = WIRES[name]
    ids = pick_tokenizer(words).encode_ordinary(TEXT)
    async with FaultyServer(wire, words, ids) as server:
        engine = wire.make(server.url, **wire.options)
        found = await check_engine(engine, words, chat(words, ("user", "hi")))
        await engine.aclose()
    assert (found.ids, found.repeats, found.continues) == (tuple(ids), True, True)


@pytest.mark.parametrize("kind", [ScriptedEngine, EmbeddedEngine])
async def test_scripted_models_continue(vocabulary, chat, kind):
    """Also over HTTP, where only the prompt tells how far the answer is."""
    if "<think>" not in vocabulary.special_tokens:
        pytest.skip("the map has no marks of reasoning")
    engine = kind(speaks)
    found = await check_engine(engine, vocabulary, chat(vocabulary, ("user", "hi")), max_tokens=400)
    await engine.aclose()
    assert (found.repeats, found.continues, found.finish_reason) == (True, True, "stop")


async def test_a_chat_api_begins_anew_and_says_so(words, chat):
    wire = WIRES["openai"]
    async with FaultyServer(wire, words, pick_tokenizer(words).encode_ordinary(TEXT)) as server:
        engine = wire.make(server.url)
        found = await check_engine(engine, words, chat(words, ("user", "hi")))
        await engine.aclose()
    assert (found.repeats, found.continues) == (True, False)


class Own:
    """Gives the same frames whatever the prompt is."""

    name = provider = "own"

    def __init__(self, *frames: CodecFrame, **declared: bool) -> None:
        self._frames = frames
        vars(self).update(declared)

    @asynccontextmanager
    async def stream(self, request):
        if request.prompt_ids and max(request.prompt_ids) < request.vocabulary.size:
            yield FrameStream(self._frames)
        else:
            raise OwnError

    async def aclose(self) -> None:
        """Hold nothing."""


class OwnError(Exception):
    """No EngineError."""


class Answers(Own):
    @asynccontextmanager
    async def stream(self, request):
        yield FrameStream(self._frames)


TWO = (CodecFrame((21,), done=False), CodecFrame((22,), done=True, finish_reason="stop"))


async def test_a_prompt_outside_the_map_has_to_be_refused(words):
    with pytest.raises(ConformanceError, match="an empty prompt is answered"):
        await check_engine(Answers(*TWO), words, [5])
    with pytest.raises(OwnError):
        await check_engine(Own(*TWO), words, [5])


async def test_more_ids_than_asked_for_are_a_breach(words):
    with pytest.raises(ConformanceError, match="2 ids came for max_tokens=1"):
        await check_engine(Answers(*TWO), words, [5], max_tokens=1)


class Restarts(Answers):
    """Begins its answer anew whatever is there of it, and says that it continues."""

    continues = True

    @asynccontextmanager
    async def stream(self, request):
        if not request.prompt_ids or max(request.prompt_ids) >= request.vocabulary.size:
            raise EngineError("own", "no such prompt")
        ids = [token for frame in self._frames for token in frame.ids][: request.options.max_tokens]
        yield FrameStream((CodecFrame(tuple(ids), done=True, finish_reason="stop"),))


@pytest.mark.parametrize("ids", [(21,), (21,) * 50])
async def test_an_answer_that_does_not_tell_shows_nothing(words, ids):
    """As one that is continued, so would one look that begins anew."""
    with pytest.raises(ConformanceError, match="give a prompt that is answered by several"):
        await check_engine(Restarts(CodecFrame(ids, done=True)), words, [5])


@pytest.mark.parametrize("ids", [(21, 22), (21, 22) * 50, (21,) * 23 + (22,), (21,) * 5])
async def test_an_answer_that_begins_anew_is_a_breach(words, ids):
    with pytest.raises(ConformanceError, match="but restarts the answer"):
        await check_engine(Restarts(CodecFrame(ids, done=True)), words, [5])
