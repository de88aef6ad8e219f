"""Translation: the same ids however the stream is cut, nothing forged, nothing lost."""

import tracemalloc
from random import Random

import pytest

from codec_core.detokenizer import Detokenizer, detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator, static_translation_table, translate
from codec_core.vocabulary import vocabulary_of
from tests.cases import cases
from tests.conftest import load_shared_map, maps_directory
from tests.core.test_detokenizer import byte_map
from tests.core.test_tokenizer import ADVERSARIAL, SIZES
from tests.exactness import all_pairs, held_bytes, mismatches
from tests.limits import calls_of, within
from tests.texts import random_cuts, random_text

PAIRS = all_pairs() if (maps_directory() / "index.json").is_file() else []


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_cut_gives_the_same_ids_and_the_text_comes_back(source, target):
    assert not list(mismatches(load_shared_map(source), load_shared_map(target), cases=25))


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_hundreds_of_cases_a_pair(source, target):
    assert not list(mismatches(load_shared_map(source), load_shared_map(target), cases=300, seed=1))


@pytest.mark.parametrize(("source", "target"), PAIRS[::23])
def test_little_is_held_on_natural_text(source, target):
    held = held_bytes(load_shared_map(source), load_shared_map(target))
    assert held[len(held) * 90 // 100] <= 40
    assert held[-1] <= 400


def test_one_id_at_a_time_with_normalization(shared_map):
    source, target = shared_map("openai/cl100k_base"), shared_map("qwen/qwen2")
    random = Random(3)
    for _ in range(cases(200)):
        text = random_text(random) + "e\u0301\u0323 \u1112\u1161\u11ab" + random_text(random, 3)
        ids = pick_tokenizer(source).encode_ordinary(text)
        translator = Translator(source, target)
        given = [number for token_id in ids for number in translator.feed([token_id])] + translator.flush()
        assert given == pick_tokenizer(target).encode_ordinary(text)


@pytest.mark.parametrize("target", ["qwen/qwen2", "meta-llama/llama-2", "openai/r50k_base"])
def test_a_long_word_takes_linear_time(target, shared_map):
    source, target = shared_map("microsoft/phi-4"), shared_map(target)
    word = "".join(Random(5).choices("abcdefghij", k=50_000))
    ids = pick_tokenizer(source).encode_ordinary(word)
    translator = Translator(source, target)
    translator.translate(ids[:100])
    with within():
        given = [number for token_id in ids for number in translator.feed([token_id])] + translator.flush()
    assert given == pick_tokenizer(target).encode_ordinary(word)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", ["qwen/qwen2", "meta-llama/llama-2"])
@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.slow
def test_adversarial_texts_are_translated_in_little_time_and_memory(name, target, size, shared_map):
    source, target = shared_map("microsoft/phi-4"), shared_map(target)
    ids = pick_tokenizer(source).encode_ordinary(ADVERSARIAL[name](size))
    parts = [ids[at : at + 8] for at in range(0, len(ids), 8)]
    translator = Translator(source, target)
    translator.translate(ids[:100])
    with within():
        given = [number for part in parts for number in translator.feed(part)] + translator.flush()
    assert given == translate(source, target, ids)


def test_special_tokens_are_dropped_and_counted(shared_map):
    source, target = shared_map("qwen/qwen2"), shared_map("meta-llama/llama-3")
    ids = pick_tokenizer(source).encode("<|im_start|>Hi<|im_end|>")
    translator = Translator(source, target)
    assert detokenize(target, translator.translate(ids)) == "Hi"
    assert translator.dropped == 2


def test_kept_special_tokens_are_ordinary_text(shared_map):
    source, target = shared_map("qwen/qwen2"), shared_map("qwen/qwen3")
    ids = pick_tokenizer(source).encode("<|im_start|>Hi<|im_end|>")
    translator = Translator(source, target, keep_special=True)
    given = translator.translate(ids)
    assert detokenize(target, given) == "<|im_start|>Hi<|im_end|>"
    assert pick_tokenizer(target).vocabulary.special_ids.isdisjoint(given)
    assert translator.dropped == 0


def test_invalid_bytes_are_replaced_once_and_counted(shared_map):
    target = shared_map("meta-llama/llama-3")
    random = Random(1)
    for _ in range(cases(200)):
        data = bytes(
            random.choices(b"a\xe2\x82\xac\xf0\x9f\x98\x80\xff\xef\xbf\xbd ", k=random.randrange(30))
        )
        translator = Translator(byte_map(), target)
        given = []
        for part in random_cuts(random, list(data)):
            given += translator.feed(part)
        given += translator.flush()
        text = data.decode("utf-8", "replace")
        assert detokenize(target, given) == text
        assert translator.replaced == text.count("\ufffd") - data.count(b"\xef\xbf\xbd")


def test_unknown_ids_are_replaced_and_counted(shared_map):
    translator = Translator(byte_map(), shared_map("meta-llama/llama-3"))
    assert (
        detokenize(shared_map("meta-llama/llama-3"), translator.translate([72, 999, -1])) == "H\ufffd\ufffd"
    )
    assert translator.replaced == 2


def test_what_is_held_is_told(shared_map):
    translator = Translator(byte_map(), shared_map("meta-llama/llama-3"))
    assert translator.held_bytes == 0
    translator.feed(list(b"Hello wor"))
    assert translator.held_bytes == len(" wor")
    translator.feed([0xE2])
    assert translator.held_bytes == len(" wor") + 1
    translator.flush()
    assert translator.held_bytes == 0


def test_the_existing_names_work(shared_map):
    source, target = shared_map("microsoft/phi-4"), shared_map("meta-llama/llama-2")
    ids = pick_tokenizer(source).encode_ordinary("Hello there, world")
    translator = Translator(source, target)
    assert (translator.from_id, translator.to_id) == ("microsoft/phi-4", "meta-llama/llama-2")
    given = translator.translate(ids[:2], partial=True) + translator.translate(iter(ids[2:]), partial=True)
    assert given + translator.finish() == translate(source, target, ids) == translator.translate(ids)
    translator.feed(ids)
    translator.reset()
    assert translator.flush() == []


def test_static_table(shared_map):
    source, target = shared_map("openai/r50k_base"), shared_map("meta-llama/llama-2")
    table = static_translation_table(source, target)
    assert 50256 not in table
    assert vocabulary_of(source).token_bytes(127) == b"\xc3"
    assert 127 not in table
    assert detokenize(target, table[262]) == detokenize(source, [262])


def test_opening_on_loaded_maps_costs_few_calls_and_little_memory(shared_map):
    source, target = shared_map("microsoft/phi-4"), shared_map("meta-llama/llama-2")
    ids = pick_tokenizer(source).encode_ordinary("a few words, held")
    Translator(source, target).translate(ids)
    assert calls_of(lambda: (Translator(source, target), Detokenizer(source))) <= 40
    tracemalloc.start()
    streams = [(Translator(source, target), Detokenizer(source)) for _ in range(1000)]
    for translator, detokenizer in streams:
        translator.feed(ids)
        detokenizer.feed(ids)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used / 1000 < 4096
