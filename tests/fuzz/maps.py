"""Maps: any bytes are refused with a typed error, or make a tokenizer that works."""

import base64
import contextlib
import json

from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import detokenize
from codec_core.exceptions import CodecError
from codec_core.maps import parse_map
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from tests.core.building.test_normalizer_rules import table

TEXTS = ("", "ab abba\n\n 12  é漢\x00", " " * 50, "<s>a</s>")


def document(tokens, **fields):
    """Return a map of these tokens."""
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return json.dumps(
        {"id": "a/b", "version": "2", "vocab_size": len(vocab), "vocab": vocab, **fields}
    ).encode()


def seeds():
    """Yield a map of each kind, small enough to be changed at every place."""
    yield document("ab ", merges=[])
    yield document(["a", "b", "ab", "<s>"], special_tokens={"<s>": 3}, merges=["a b"])
    pattern = r"(?i:'s)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokens = [*ALPHABET, "ab", "ba", "Ġa"]
    yield document(tokens, encoder="byte_level", merges=["a b", "b a"], pre_tokenizer_pattern=pattern)
    words = ["▁", "▁a", "a", "b", "ab", *(f"<0x{byte:02X}>" for byte in range(256))]
    yield document(words, encoder="metaspace", merges=["▁ a", "a b"], byte_fallback_start=5)
    scores = {"scores": [-1.0] * len(words), "unknown": -9.0}
    rules = {"charsmap": base64.b64encode(table({"\n": " ", "a\u0301": "b"})).decode(), "by_cluster": True}
    unigrams = {"encoder": "metaspace", "unigram": scores, "byte_fallback_start": 5, "normalizer": "rules"}
    yield document(words, **unigrams, normalizer_rules=rules | {"merged_spaces": "▁", "strips_end": True})
    cuts = {"version": 1, "ops": [{"op": "metaspace_split"}]}
    yield document(words, **unigrams, normalizer_rules=rules, pre_tokenizer_program=cuts)


def check(data):
    """Hold the reader of maps and its tokenizers to their promises."""
    with contextlib.suppress(CodecError):
        tokenizer = pick_tokenizer(parse_map(bytes(data)))
        for text in TEXTS:
            ids = tokenizer.encode_ordinary(text)
            assert all(tokenizer.vocabulary.is_valid(token) for token in ids)
            assert not set(ids) & set(tokenizer.vocabulary.special_ids)
            detokenize(tokenizer.vocabulary, ids)
            stream = text_stream(tokenizer)
            pieces = [*(token for char in text for token in stream.feed(char)), *stream.finish("")]
            assert pieces == ids, (text, pieces, ids)
