"""The comparison of tokenizers: each kind of difference is found, and other failures are none."""

from __future__ import annotations

import gc
import json
import weakref

import msgspec
import pytest

from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.stock.handshake import handshake_mode
from codec_agents.engines.stock.probes import content_texts, control_texts, spells_control
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStatusError, MapMismatchError
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


def changed(tokenizer, change):
    """Return a `/tokenize` of a tokenizer that differs in one way."""

    def answer(asked):
        ids = tokenizer.encode(change(asked["prompt"]))
        return 200, {}, [json.dumps({"tokens": ids, "count": len(ids)}).encode()]

    return answer


CHANGES = {
    "white space before digits": lambda text: text.replace("  1", " 1"),
    "newlines": lambda text: text.replace("\n\n", "\n"),
    "markup": lambda text: text.replace("<table>", ""),
    "normalization": lambda text: text.replace("e\u0301", "é"),
    "lower case": lambda text: text.lower(),
    "control tokens": lambda text: text.replace("<|im_end|>", "<|im_ end|>"),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_each_kind_of_difference_is_found(vocabulary, ask, stock, name):
    if name == "control tokens" and "<|im_end|>" not in vocabulary.special_tokens:
        pytest.skip("the map has no such token")
    routes = {"/tokenize": changed(pick_tokenizer(vocabulary), CHANGES[name])}
    async with stock.StockServer(routes) as server:
        engine = VllmEngine(server.url, api="completions")
        with pytest.raises(MapMismatchError, match="its own tokenizer, which gives"):
            await engine.check(ask(vocabulary))
        await engine.aclose()


@pytest.mark.parametrize("mode", ["probe", "full"])
async def test_the_same_tokenizer_passes(vocabulary, ask, stock, mode):
    routes = {"/tokenize": changed(pick_tokenizer(vocabulary), lambda text: text)}
    async with stock.StockServer(routes) as server:
        engine = VllmEngine(server.url, api="completions", handshake=mode)
        for _ in range(2):
            await engine.check(ask(vocabulary))
        await engine.aclose()
    asked = len(server.paths())
    assert asked == 2 if mode == "probe" else asked > 5


async def test_a_vocabulary_that_was_compared_can_be_dropped(words, ask, stock):
    """One without a hash is remembered by itself, which must not keep it."""
    own = vocabulary_of(msgspec.structs.replace(words.map, id="own"))
    routes = {"/tokenize": changed(pick_tokenizer(own), lambda text: text)}
    async with stock.StockServer(routes) as server:
        engine = VllmEngine(server.url, api="completions")
        for _ in range(2):
            await engine.check(ask(own))
        assert len(server.paths()) == 2  # the probe's two texts, once
        gone, server.routes = weakref.ref(own), {}
        del own, routes
        gc.collect()
        assert gone() is None
        await engine.aclose()


def test_content_spells_no_control_token_and_every_control_token_is_spelled(vocabulary):
    for full in (False, True):
        assert not any(spells_control(text, vocabulary) for text in content_texts(vocabulary, full=full))
    spelled = "".join(control_texts(vocabulary, full=True))
    assert all(name in spelled for name in vocabulary.special_tokens)


NO_MODEL = b'{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","code":404}}'
ABSENT = [
    b'{"detail":"Not Found"}',
    b'{"error":{"code":404,"message":"File Not Found"}}',
    b"404: Not Found",
    b"",
]


async def test_a_wrong_model_is_no_missing_tokenizer(words, ask, stock):
    async with stock.StockServer({"/tokenize": lambda _: (404, {}, [NO_MODEL])}) as server:
        for engine in (VllmEngine(server.url), LlamaCppEngine(server.url)):
            with pytest.raises(EngineStatusError, match="does not exist"):
                await engine.check(ask(words))
            await engine.aclose()


@pytest.mark.parametrize("body", ABSENT)
async def test_an_engine_without_the_call_is_not_compared(words, ask, stock, body, caplog):
    async with stock.StockServer({"/tokenize": lambda _: (404, {}, [body])}) as server:
        engine = VllmEngine(server.url, api="completions")
        await engine.check(ask(words))
        assert not engine.has_compared(words)
        await engine.aclose()
    assert "no call /tokenize: its tokenizer is not compared with the map demo/words" in caplog.text


async def test_an_engine_has_compared_a_map_once_it_is_asked(vocabulary, ask, stock):
    routes = {"/tokenize": changed(pick_tokenizer(vocabulary), lambda text: text)}
    async with stock.StockServer(routes) as server:
        for mode, compared in (("probe", True), ("off", False)):
            engine = VllmEngine(server.url, api="completions", handshake=mode)
            assert not engine.has_compared(vocabulary)
            await engine.check(ask(vocabulary))
            assert engine.has_compared(vocabulary) is compared
            await engine.aclose()


def test_yaml_reads_off_as_false():
    assert [handshake_mode(each) for each in (False, True, "full")] == ["off", "probe", "full"]
    with pytest.raises(ValueError, match="off, probe or full"):
        handshake_mode("no")
