"""Text from ids, however they are divided."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_core import reference
from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import Detokenizer, detokenize
from codec_core.maps import TokenizerMap
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.cases import cases
from tests.conftest import reference_cases
from tests.texts import random_cuts

SPECIAL = {"<s>": 256}


def byte_map() -> TokenizerMap:
    """Return a map whose ids are bytes."""
    vocab = {character: byte for byte, character in enumerate(ALPHABET)}
    return TokenizerMap(
        id="test/bytes",
        version="2",
        vocab_size=257,
        vocab={**vocab, **SPECIAL},
        encoder="byte_level",
        special_tokens=SPECIAL,
    )


MAP = byte_map()


@given(st.binary(max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=cases(300))
def test_invalid_bytes_become_what_python_makes_of_them_at_every_cut(data, random):
    detokenizer = Detokenizer(MAP)
    parts = [detokenizer.feed(part) for part in random_cuts(random, list(data))]
    assert "".join(parts) + detokenizer.flush() == data.decode("utf-8", "replace")


def test_special_tokens_are_skipped_unless_asked_for():
    ids = [72, 256, 105]
    assert detokenize(MAP, ids) == "Hi"
    assert detokenize(MAP, ids, render_special=True) == "H<s>i"


def test_bytes_are_gathered_across_calls_and_special_tokens():
    detokenizer = Detokenizer(MAP)
    euro = list("€".encode())
    assert [detokenizer.feed([byte]) for byte in (euro[0], euro[1], 256, euro[2])] == ["", "", "", "€"]


@pytest.mark.parametrize("unknown", [-1, 257, 2**32, -(2**70)])
def test_an_unknown_id_is_a_replacement_character(unknown):
    assert detokenize(MAP, [72, unknown, 105]) == "H\ufffdi"
    assert Detokenizer(MAP).feed([unknown]) == "\ufffd"


def test_flush_and_reset_make_ready_for_another_stream():
    detokenizer = Detokenizer(MAP)
    detokenizer.feed([0xE2])
    assert detokenizer.flush() == "\ufffd"
    detokenizer.feed([0xE2])
    detokenizer.reset()
    assert detokenizer.render(iter([72])) == "H"
    assert detokenizer.render((72, 0xE2), partial=True) == "H"
    assert detokenizer.render([]) == "\ufffd"


def test_the_first_space_of_metaspace_does_not_come_back(shared_map):
    llama = shared_map("meta-llama/llama-2")
    ids = pick_tokenizer(llama).encode_ordinary(" two  spaces")
    assert detokenize(llama, ids) == " two  spaces"
    detokenizer = Detokenizer(llama)
    assert "".join(detokenizer.feed([number]) for number in ids) == " two  spaces"
    detokenizer.reset()
    assert detokenizer.feed([1]) == ""
    assert detokenizer.feed(ids[:1]) == detokenize(llama, ids[:1])


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm"])
def test_reference_cases(name):
    tokenizer_map, cases = reference_cases(name)
    for case in cases:
        assert detokenize(tokenizer_map, case["ids"]) == case["text"]


@pytest.mark.parametrize("map_id", ["microsoft/phi-4", "mistralai/mistral-v3"])
def test_any_ids_decode_as_the_reference_says(map_id, shared_map):
    vocabulary = vocabulary_of(shared_map(map_id))
    random = Random(1)
    for _ in range(cases(300)):
        ids = [random.randrange(-2, vocabulary.size + 2) for _ in range(random.randrange(30))]
        detokenizer = Detokenizer(vocabulary)
        parts = [detokenizer.feed(part) for part in random_cuts(random, ids)]
        assert "".join(parts) + detokenizer.flush() == reference.decode(vocabulary, ids)


def test_it_tells_whether_the_ids_end_with_a_whole_character() -> None:
    detokenizer = Detokenizer(byte_map())
    found = []
    for byte in "a—".encode():
        detokenizer.feed((byte,))
        found.append(detokenizer.whole)
    assert found == [True, False, False, True]
