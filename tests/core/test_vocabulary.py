"""The shared view of a map."""

import gc
import weakref

import pytest

from codec_core.byte_level import ALPHABET, decode_byte_level_token, encode_byte_level_chars
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import vocabulary_of


def test_the_byte_alphabet_is_a_bijection():
    assert len(set(ALPHABET)) == 256
    assert decode_byte_level_token(ALPHABET) == bytes(range(256))
    assert encode_byte_level_chars(bytes(range(256))) == ALPHABET
    assert encode_byte_level_chars(b" a\n") == "ĠaĊ"


def test_tokens_outside_the_alphabet_are_plain_text():
    assert decode_byte_level_token("日") == "日".encode()


def test_a_vocabulary_is_made_once_and_dropped_with_its_map():
    tokenizer_map = TokenizerMap(id="a/b", version="2", vocab_size=1, vocab={"a": 0})
    vocabulary = vocabulary_of(tokenizer_map)
    assert vocabulary_of(tokenizer_map) is vocabulary
    assert vocabulary_of(vocabulary) is vocabulary
    gone = weakref.ref(vocabulary)
    del vocabulary, tokenizer_map
    gc.collect()
    assert gone() is None


def test_tokens_spell_bytes():
    tokenizer_map = TokenizerMap(
        id="a/b",
        version="2",
        vocab_size=300,
        vocab={"▁a": 1, "<s>": 0, **{f"<0x{byte:02X}>": 10 + byte for byte in range(256)}},
        encoder="metaspace",
        byte_fallback_start=10,
        byte_fallback_end=265,
        special_tokens={"<s>": 0},
    )
    vocabulary = vocabulary_of(tokenizer_map)
    assert vocabulary.token_bytes(1) == b" a"
    assert vocabulary.token_bytes(10 + 0xE2) == b"\xe2"
    assert vocabulary.token_bytes(0) == b"<s>"
    assert vocabulary.special_ids == {0}
    assert dict(vocabulary.special_tokens) == {"<s>": 0}
    with pytest.raises(KeyError):
        vocabulary.token_bytes(2)
    with pytest.raises(TypeError):
        vocabulary.special_tokens["x"] = 1
