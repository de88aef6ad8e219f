"""The fakes that ship with the package."""

import httpx
import pytest

from codec_agents import testing
from codec_agents.engines.base import Engine, GenerationRequest
from codec_agents.engines.factory import KINDS, make_engine
from codec_agents.testing import EmbeddedEngine, Say, ScriptedEngine, ScriptError, scripted_server, turns
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of


@pytest.fixture
def words():
    return vocabulary_of(bundled_map("demo/words"))


def request(vocabulary, text="hello", model=None):
    ids = pick_tokenizer(vocabulary).encode(f"<|im_start|>user\n{text}<|im_end|>\n")
    return GenerationRequest(prompt_ids=ids, vocabulary=vocabulary, model=model)


async def read(engine, asked):
    async with engine.stream(asked) as stream:
        return [token async for frame in stream for token in frame.ids]


def test_everything_named_is_there():
    assert all(hasattr(testing, name) for name in testing.__all__)
    assert testing.__all__ == sorted(testing.__all__, key=lambda name: (name[0].islower(), name))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_both_engines_say_the_same(words, anyio_backend):
    said = [Say("It is 17 degrees.")]
    inside, behind_http = ScriptedEngine(lambda _: said), EmbeddedEngine(lambda _: said)
    assert isinstance(inside, Engine)
    assert isinstance(behind_http, Engine)
    assert await read(inside, request(words)) == await read(behind_http, request(words))
    assert inside.requests[0].prompt_ids == list(behind_http.app.exchanges.generations[0].prompt_ids)
    await behind_http.aclose()


@pytest.mark.anyio
async def test_one_embedded_engine_speaks_every_vocabulary_it_is_asked_in(words):
    other = vocabulary_of(bundled_map("demo/bytes"))
    engine = EmbeddedEngine(lambda prompt: f"{prompt.model}")
    for vocabulary in (words, other):
        ids = await read(engine, request(vocabulary, model="m"))
        assert ids[-1] == vocabulary.special_tokens["<|im_end|>"]
    await engine.aclose()


@pytest.mark.anyio
async def test_turns_keep_the_prompts_they_saw(words):
    script = turns("one", "two")
    engine = ScriptedEngine(script)
    await read(engine, request(words, "first"))
    await read(engine, request(words, "second"))
    assert [prompt.user for prompt in script.prompts] == ["first", "second"]
    with pytest.raises(ScriptError, match="request 3 was not expected"):
        await read(engine, request(words, "third"))


def test_a_server_for_tests_without_an_event_loop(words):
    with scripted_server(words, lambda prompt: "fine") as server:
        answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "hello"})
    assert answer.json()["choices"][0]["text"] == "fine"
    assert server.app.exchanges.total == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_made_from_a_declaration(kind):
    local = kind in ("scripted", "embedded")
    engine = make_engine(
        kind, name="A", url=None if local else "http://127.0.0.1:1", script="hi" if local else None
    )
    assert isinstance(engine, Engine)
    assert engine.name == "A"


def test_mistakes_in_a_declaration_are_named():
    with pytest.raises(ValueError, match="there is no engine kind 'vlm'"):
        make_engine("vlm", url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="needs a url"):
        make_engine("codec")
    for kind in ("scripted", "embedded"):
        with pytest.raises(ValueError, match="does not take url"):
            make_engine(kind, script="hi", url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="vllm does not take format, script, seed"):
        make_engine("vllm", url="http://127.0.0.1:1", format="msgpack", script="hi", seed=3)
    engine = make_engine(
        "vllm", url="http://127.0.0.1:1", options={"api": "completions", "max_connections": 3}
    )
    assert engine.pool.settings.max_connections == 3


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_drops_an_option(kind):
    where = {"script": "hi"} if kind in ("scripted", "embedded") else {"url": "http://127.0.0.1:1"}
    for name in ("speed", "name", "settings", "client", "api_key", "headers", "concurrency"):
        with pytest.raises(ValueError, match=f"{kind} does not know the option '{name}'; it knows .*, "):
            make_engine(kind, **where, options={name: 3})


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("vllm", "api", "chat", "one of auto, generate, completions"),
        ("llamacpp", "lost_ids", "guess", "one of ask, error, no_stream"),
        ("codec", "requests", "xml", "one of auto, json, binary"),
        ("codec", "encodings", "br", "got `str`"),
        ("codec", "format", "text", "unknown stream format 'text'"),
        ("sglang", "handshake", "no", "Invalid enum value"),
        ("openai", "transport", "curl", "one of auto, httpx, aiohttp"),
        ("auto", "max_connections", 0, ">= 1"),
        ("auto", "verify", "nowhere.pem", "no file of certificates 'nowhere.pem'"),
        ("scripted", "prefix_cache", "yes", "Expected `bool`"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(kind, name, value, message):
    where = {"script": "hi"} if kind == "scripted" else {"url": "http://127.0.0.1:1"}
    with pytest.raises(ValueError, match=message):
        make_engine(kind, **where, options={name: value})
