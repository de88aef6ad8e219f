"""The bundled maps: fresh, of two kinds, and with the same special tokens at different ids."""

import json

import pytest

from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map, bundled_map_bytes
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from tests.vocabularies import train
from tests.vocabularies.bpe import learn_merges, merge_pair

TEXTS = [
    "The night train leaves at 21:25.\n\nBring a coat, please!",
    '{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}',
    "  two spaces,\ta tab and a line\r\n",
    "天気はどうですか 🧳👩🏽‍💻 naïve Ünïcödé \U0001f9ff",
    "<|im_end|></tool_call><think>",
    "",
]


@pytest.mark.parametrize(
    ("map_id", "trained"), [("demo/bytes", train.train_bytes), ("demo/words", train.train_words)]
)
def test_maps_are_what_the_script_makes_of_the_corpus(map_id, trained):
    corpus = (train.HERE / "corpus.txt").read_text(encoding="utf-8")
    assert train.serialize(trained(corpus)) == bundled_map_bytes(map_id)


def test_special_tokens_are_the_same_names_at_different_ids():
    bytes_map, words_map = (bundled_map(map_id).special_tokens for map_id in BUNDLED_MAPS)
    assert list(bytes_map) == list(words_map) == list(train.SPECIAL_TOKENS)
    assert not set(bytes_map.items()) & set(words_map.items())


@pytest.mark.parametrize("map_id", BUNDLED_MAPS)
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_without_control_ids(map_id, text):
    tokenizer_map = bundled_map(map_id)
    ids = pick_tokenizer(tokenizer_map).encode_ordinary(text)
    assert not set(ids) & set(tokenizer_map.special_tokens.values())
    assert detokenize(tokenizer_map, ids) == text


@pytest.mark.parametrize("map_id", BUNDLED_MAPS)
def test_prose_is_compressed(map_id):
    text = "Here is a packing list for four days in a cold city: a warm coat, gloves and waterproof boots."
    assert len(pick_tokenizer(bundled_map(map_id)).encode_ordinary(text)) < len(text) / 3


@pytest.mark.parametrize("map_id", BUNDLED_MAPS)
def test_maps_are_small_and_parsed_once(map_id):
    assert bundled_map(map_id) is bundled_map(map_id)
    document = json.loads(bundled_map_bytes(map_id))
    assert document["id"] == map_id
    assert 2000 < document["vocab_size"] == max(document["vocab"].values()) + 1 < 5000


def test_unknown_bundled_map_says_what_there_is():
    with pytest.raises(LookupError, match="demo/bytes, demo/words"):
        bundled_map("demo/none")


def test_merges_come_most_frequent_first_and_ties_sort():
    assert learn_merges(["abab", "ab", "cd", "cd"], 10) == [("a", "b"), ("c", "d")]
    assert learn_merges(["ba", "ba", "ab", "ab"], 10) == [("a", "b"), ("b", "a")]
    assert learn_merges(["xyxy", "xyxy"], 1) == [("x", "y")]


def test_symbols_outside_the_alphabet_never_merge():
    assert learn_merges(["ab1", "ab1"], 10, alphabet={"a", "b"}) == [("a", "b")]


def test_merging_goes_from_left_to_right():
    assert merge_pair(list("aaaab"), ("a", "a")) == ["aa", "aa", "b"]
    assert merge_pair(list("aaa"), ("a", "a")) == ["aa", "a"]
