"""What builders read: no devices or pipes, and no more than a file of their format has."""

import base64
import json
import os
import struct
import tracemalloc

import pytest

from codec_core.building import (
    build_from_gguf,
    build_from_sentencepiece,
    build_from_tekken,
    build_from_tiktoken,
    build_from_tokenizer_json,
)
from codec_core.building.document import MAX_SOURCE_BYTES
from codec_core.building.source import build_map, is_gguf, is_map
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError
from codec_core.maps import MAX_MAP_BYTES, read_map
from tests.core.building.gguf_files import gguf
from tests.limits import calls_of, within

BUILDERS = {
    "gguf": build_from_gguf,
    "sentencepiece": build_from_sentencepiece,
    "tekken": build_from_tekken,
    "tiktoken": lambda path, map_id: build_from_tiktoken(path, map_id=map_id, pattern="cl100k_base"),
    "tokenizer.json": build_from_tokenizer_json,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_pipes_devices_and_folders_are_refused(name, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for source in ("pipe", "zero"):
        with pytest.raises(MapBuildError, match="no regular file"):
            BUILDERS[name](tmp_path / source, map_id="test/source")
    with pytest.raises(MapBuildError, match=r"no regular file|cannot read"):
        BUILDERS[name](tmp_path / "folder", map_id="test/source")
    with pytest.raises(MapBuildError, match="cannot read"):
        BUILDERS[name](tmp_path / "missing", map_id="test/source")


@pytest.mark.parametrize("ask", [is_map, is_gguf, lambda path: build_map(path, map_id="test/source")])
def test_the_format_of_a_pipe_is_not_waited_for(ask, tmp_path):
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(MapBuildError, match="no regular file"):
        ask(tmp_path / "x.json")
    with pytest.raises(MapBuildError, match="cannot read"):
        ask(tmp_path / "missing")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a":' + b"[" * 100_000, b'{"\xff": 1}', b'["a"]'])
def test_json_that_cannot_be_read_is_left_to_the_reader_of_maps(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    assert is_map(tmp_path / "x.json")
    with pytest.raises(TokenizerMapValidationError):
        read_map(tmp_path / "x.json")


@pytest.mark.memory
def test_the_format_of_json_with_many_names_takes_no_memory_for_them(tmp_path):
    content = b"{" + b",".join(b'"%x":1' % number for number in range(1_000_000)) + b"}"
    (tmp_path / "x.json").write_bytes(content)
    tracemalloc.start()
    try:
        assert is_map(tmp_path / "x.json")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The room that reading asks for, and the bytes; the names alone would take twelve times as many.
    assert peak < MAX_SOURCE_BYTES + 3 * len(content)


@pytest.mark.slow
def test_a_tokenizer_file_may_be_larger_than_a_map(tmp_path):
    with (tmp_path / "x.json").open("wb") as file:
        file.write(b'{"model": {}, "added_tokens": []' + b" " * MAX_MAP_BYTES + b"}")
    assert not is_map(tmp_path / "x.json")


def test_a_chat_template_that_is_a_device_is_refused(tmp_path):
    (tmp_path / "chat_template.jinja").symlink_to("/dev/zero")
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    steps = {"type": "ByteLevel", "add_prefix_space": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model, "pre_tokenizer": steps}))
    with pytest.raises(MapBuildError, match="no regular file"):
        build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/source")


def prefix_tokens(letters: str) -> bytes:
    tokens = [letter * length for letter in letters for length in range(1, 513)]
    pairs = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
    }
    return gguf(pairs)


def strings(count: int) -> bytes:
    def key(name: bytes) -> bytes:
        return struct.pack("<Q", len(name)) + name

    body = key(b"tokenizer.ggml.model") + struct.pack("<I", 8) + key(b"gpt2")
    for name in (b"tokenizer.ggml.tokens", b"tokenizer.ggml.merges"):
        body += key(name) + struct.pack("<IIQ", 9, 8, count) + bytes(8 * count)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + body


def ranks(count: int) -> bytes:
    return b"\n".join(base64.b64encode(b"%07x" % n) + b" %d" % n for n in range(count))


HOSTILE = {
    "tokens of each other": ("gguf", lambda: prefix_tokens("abcdefghijklmno"), "too many ways"),
    "many empty strings": ("gguf", lambda: strings(2**21), "longer than"),
    "no number as a score": (
        "gguf",
        lambda: gguf(
            {
                "tokenizer.ggml.model": "llama",
                "tokenizer.ggml.tokens": ["a", "b", "ab"],
                "tokenizer.ggml.scores": [0.0, float("nan"), 0.0],
            }
        ),
        "a score is no number",
    ),
    "many ranks": ("tiktoken", lambda: ranks(700_000), "at most 524288 are read"),
    "many values": (
        "tokenizer.json",
        lambda: b'{"model":{"vocab":{' + b'"a":0,' * 1_800_000 + b"}}}",
        "values",
    ),
    "many tokens": (
        "tokenizer.json",
        lambda: (
            b'{"model":{"vocab":{'
            + b",".join(b'"%x":%d' % (n, n) for n in range(600_000))
            + b'},"merges":[]}}'
        ),
        "600000 tokens",
    ),
}


@pytest.mark.memory
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.slow
def test_cost_is_bounded_by_the_size_of_the_file(name, tmp_path):
    kind, make, message = HOSTILE[name]
    content = make()
    (tmp_path / "x").write_bytes(content)

    def build():
        with pytest.raises(MapBuildError, match=message):
            BUILDERS[kind](tmp_path / "x", map_id="test/source")

    with within(megabytes=64 + 8 * len(content) // 2**20):
        calls = calls_of(build)
    assert calls < 2_000 + len(content)  # at most 0.3 a byte
