"""Tokens of up to 1,024 bytes, in each way of making them: ids and text are those of the definition."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from codec_core import reference
from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import vocabulary_of

RUNS = [2**power for power in range(1, 11)]
MERGES = [f"{'a' * (run // 2)} {'a' * (run // 2)}" for run in RUNS]
LENGTHS = (1, 63, 1023, 1024, 1025, 3000)


def made(tokens: list[str], **fields: object) -> TokenizerMap:
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    base = {"id": "a/b", "version": "2", "vocab_size": len(vocab), "vocab": vocab}
    return parse_map(json.dumps({**base, **fields}).encode())


def runs() -> list[str]:
    return ["a" * run for run in RUNS]


def marked(**fields: object) -> TokenizerMap:
    tokens = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", *runs()]
    span = {"byte_fallback_start": 0, "byte_fallback_end": 255}
    return made(tokens, encoder="metaspace", metaspace_prefix="never", **span, **fields)


def unigram() -> TokenizerMap:
    return marked(unigram={"scores": [-1.0] * (259 + len(RUNS))})


MAPS: dict[str, Callable[[], TokenizerMap]] = {
    "byte level": lambda: made([*ALPHABET, *runs()], encoder="byte_level", merges=MERGES),
    "metaspace": lambda: marked(merges=MERGES),
    "scores": unigram,
    "longest match": lambda: made(["b", " ", "a", *runs()]),
}


DEFINITIONS = {
    "byte level": reference.encode_ordinary,
    "metaspace": reference.encode_ordinary,
    "longest match": reference.encode_longest_match,
}


@pytest.mark.parametrize("name", MAPS)
def test_long_tokens_are_made_and_spelled(name: str) -> None:
    tokenizer_map = MAPS[name]()
    tokenizer, vocabulary = pick_tokenizer(tokenizer_map), vocabulary_of(tokenizer_map)
    for length in LENGTHS:
        text = f"b{'a' * length} b"
        ids = tokenizer.encode_ordinary(text)
        # Runs of powers of two: as few as the length has ones in binary, beyond whole runs of 1,024.
        assert len(ids) == 3 + length // 1024 + (length % 1024).bit_count()
        if name in DEFINITIONS and (length < 100 or name == "longest match"):  # the others take long
            assert ids == DEFINITIONS[name](vocabulary, text)
        assert Detokenizer(tokenizer_map).render(ids) == text
        stream = text_stream(tokenizer)
        pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
        assert [*(token for piece in pieces for token in stream.feed(piece)), *stream.finish()] == ids


@pytest.mark.parametrize("source", MAPS)
def test_long_tokens_are_translated(source: str) -> None:
    text = f"{'a' * 1024}b {'a' * 1500}"
    ids = pick_tokenizer(MAPS[source]()).encode_ordinary(text)
    target = MAPS["byte level"]()
    translator = Translator(MAPS[source](), target)
    translated = [*(token for each in ids for token in translator.feed([each])), *translator.flush()]
    assert Detokenizer(target).render(translated) == text


def test_with_scores_tokens_that_begin_alike_are_of_a_bounded_number_of_lengths() -> None:
    tokens = ["▁", *("a" * length for length in range(1, 131))]
    many = made(tokens, encoder="metaspace", unigram={"scores": [-1.0] * len(tokens)})
    with pytest.raises(TokenizerMapValidationError, match="have 130 lengths; with scores the limit is 128"):
        pick_tokenizer(many)
