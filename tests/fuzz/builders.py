"""Builders: any bytes of a tokenizer file are refused with a typed error, or give a map that is one."""

import base64
import contextlib
import json
import tempfile
from pathlib import Path

from codec_core.building.source import build_map
from codec_core.exceptions import MapBuildError
from codec_core.maps import parse_map
from tests.core.building.gguf_files import gguf
from tests.core.building.test_normalizer_rules import table
from tests.core.building.test_sentencepiece_model import PIECES, model
from tests.core.building.test_sentencepiece_model import UNIGRAM as UNIGRAM_KIND

NAMES = ("tokenizer.json", "tekken.json", "tokenizer.model", "model.gguf", "ranks.tiktoken")

BPE = {
    "version": "1.0",
    "added_tokens": [{"id": 4, "content": "<s>", "special": True, "normalized": False, "lstrip": False,
                      "rstrip": False, "single_word": False}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"], "unk_token": None,
              "byte_fallback": False, "ignore_merges": False},
}  # fmt: skip
UNIGRAM = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table({"\u2581": " "})).decode()},
        {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    ]},
    "model": {"type": "Unigram", "unk_id": 0,
              "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -3.0], ["▁a", -2.0]]},
}  # fmt: skip
TEKKEN = {
    "config": {"pattern": r"\p{L}+|\s+|.", "num_vocab_tokens": 260, "default_vocab_size": 260,
               "default_num_special_tokens": 2, "version": "v3"},
    "vocab": [{"rank": rank, "token_bytes": base64.b64encode(bytes([rank])).decode()} for rank in range(256)],
    "special_tokens": [{"rank": 0, "token_str": "<s>", "is_control": True}],
}  # fmt: skip
TOKENS = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<s>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3],
    "tokenizer.ggml.merges": ["a b"],
}


def seeds():
    """Yield a file of each format, behind a byte that says which."""
    ranks = "".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    files = (
        json.dumps(BPE).encode(),
        json.dumps(TEKKEN).encode(),
        model(PIECES),
        gguf(TOKENS),
        ranks.encode(),
    )
    for number, content in enumerate(files):
        yield bytes([number]) + content
    yield b"\x00" + json.dumps(UNIGRAM).encode()
    yield b"\x02" + model(PIECES, kind=UNIGRAM_KIND)
    yield b"\x03" + gguf(
        {**TOKENS, "tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": [0.0, -1.0, -2.0, 0.0]}
    )


def check(data):
    """Hold the builder of a format to its promises."""
    if not data:
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder, NAMES[data[0] % len(NAMES)])
        path.write_bytes(bytes(data[1:]))
        with contextlib.suppress(MapBuildError):
            parse_map(build_map(path, map_id="a/b", pattern=r"\p{L}+|\s+|[^\p{L}\s]+"))
