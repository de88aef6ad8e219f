"""Maps made from the files of models encode as those files do."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from codec_core.building import build_from_gguf, build_from_tiktoken, build_from_tokenizer_json
from codec_core.building.gguf_reader import MAX_ARRAY_ITEMS, read_gguf_metadata
from codec_core.exceptions import MapBuildError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.tokenizer import pick_tokenizer

TEXTS = [
    "",
    " ",
    "Hello world",
    "  two  spaces\n\n\tand tabs \r\n",
    "I'll say: don't — 12345 ½ e\u0301 é",
    "日本語とEnglish、混ざる。",
    "🙂👩‍👩‍👧 flags 🇵🇹",
    "<|im_start|> is <|im_end|> text",
    "def f(x):\n    return x ** 2  # comment",
]


def hf_tokenizer(source: TokenizerMap, **model: Any) -> Tokenizer:
    vocab = source.vocab or {}
    merges = [tuple(merge.split(" ")) for merge in source.merges or []]
    return Tokenizer(models.BPE(vocab=vocab, merges=merges, **model))


def agree(built: bytes, reference: Tokenizer) -> None:
    tokenizer = pick_tokenizer(parse_map(built))
    for text in TEXTS:
        assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False).ids, text


class TestTokenizerJson:
    def test_byte_level_with_nfc_and_special_tokens(
        self, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
    ) -> None:
        source = shared_map("qwen/qwen2")
        reference = hf_tokenizer(source)
        reference.normalizer = normalizers.NFC()
        assert source.pre_tokenizer_pattern
        reference.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(source.pre_tokenizer_pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        reference.add_special_tokens(
            [AddedToken(name, normalized=False) for name in source.special_tokens or {}]
        )
        path = tmp_path / "tokenizer.json"
        reference.save(str(path))
        (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
        built = build_from_tokenizer_json(path, map_id="test/bytes")
        agree(built, reference)
        document = json.loads(built)
        assert document["chat_template"] == "{{ messages }}"
        assert document["tool_calling"]["markers"]["start"] == "<tool_call>"
        assert document["normalizer"] == "nfc"

    def test_metaspace_with_byte_fallback(
        self, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
    ) -> None:
        source = shared_map("meta-llama/llama-2")
        reference = hf_tokenizer(source, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
        reference.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        reference.add_special_tokens(
            [AddedToken(name, normalized=False, special=True) for name in ("<unk>", "<s>", "</s>")]
        )
        path = tmp_path / "tokenizer.json"
        reference.save(str(path))
        agree(build_from_tokenizer_json(path, map_id="test/words"), reference)

    def test_several_steps_become_stages(
        self, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
    ) -> None:
        source = shared_map("huggingfacetb/smollm2")
        reference = hf_tokenizer(source)
        reference.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        path = tmp_path / "tokenizer.json"
        reference.save(str(path))
        agree(build_from_tokenizer_json(path, map_id="test/digits"), reference)

    def test_the_same_file_gives_the_same_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_file()))
        first = build_from_tokenizer_json(path, map_id="test/small")
        assert first == build_from_tokenizer_json(path, map_id="test/small")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model": {"type": "WordPiece", "vocab": {}}}, "made from BPE models"),
            ({"normalizer": {"type": "Lowercase"}}, "'Lowercase' has no form"),
            ({"pre_tokenizer": {"type": "Whitespace"}}, "'Whitespace' has no form"),
            ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "add_prefix_space"),
            ({"added_tokens": [{"content": "<x>", "id": 3, "single_word": True}]}, "whole word"),
            ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}, "no pair of tokens"),
            ({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}, "valid map"),
            ({"model": []}, "no object"),
        ],
    )
    def test_what_a_map_cannot_say_is_refused(
        self, tmp_path: Path, change: dict[str, Any], message: str
    ) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps({**small_file(), **change}))
        with pytest.raises(MapBuildError, match=message):
            build_from_tokenizer_json(path, map_id="test/small")

    @pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"[" * 100_000, b"\xff"])
    def test_damaged_files_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_bytes(content)
        with pytest.raises(MapBuildError):
            build_from_tokenizer_json(path, map_id="test/small")
        with pytest.raises(MapBuildError, match="cannot read"):
            build_from_tokenizer_json(tmp_path / "missing.json", map_id="test/small")


def small_file() -> dict[str, Any]:
    return {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    }


class TestTiktoken:
    def test_the_map_encodes_as_tiktoken_does(self, tmp_path: Path) -> None:
        ranks = {bytes((byte,)): byte for byte in range(256)}
        for token in (b"th", b"the", b" the", b"in", b"ing", b" s", b"abcd", b"  "):
            ranks[token] = len(ranks)
        path = tmp_path / "ranks.tiktoken"
        lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks.items()]
        path.write_text("\n".join(lines) + "\n")
        special = {"<|end|>": 300}
        built = build_from_tiktoken(path, map_id="test/ranks", pattern="cl100k_base", special_tokens=special)
        map_ = parse_map(built)
        assert map_.pre_tokenizer_pattern
        reference = tiktoken.Encoding(
            "test", pat_str=map_.pre_tokenizer_pattern, mergeable_ranks=ranks, special_tokens=special
        )
        tokenizer = pick_tokenizer(map_)
        for text in (*TEXTS, "the thing sings abcd abcde<|end|>"):
            assert tokenizer.encode_ordinary(text) == reference.encode_ordinary(text)
            assert tokenizer.encode(text) == reference.encode(text, allowed_special="all")

    @pytest.mark.parametrize("content", ["YQ==", "YQ== x", "!! 1", "YQ== 0\nYg== 0"])
    def test_damaged_files_are_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "ranks.tiktoken"
        path.write_text(content)
        with pytest.raises(MapBuildError):
            build_from_tiktoken(path, map_id="test/ranks", pattern="cl100k_base")


def gguf(pairs: Mapping[str, Any], version: int = 3) -> bytes:
    """Write the beginning of a GGUF file: header and pairs."""

    def string(text: str) -> bytes:
        data = text.encode()
        return struct.pack("<Q", len(data)) + data

    def value(content: Any) -> bytes:
        if isinstance(content, bool):
            return struct.pack("<I?", 7, content)
        if isinstance(content, str):
            return struct.pack("<I", 8) + string(content)
        assert isinstance(content, Sequence)
        kind, form = {str: (8, ""), int: (5, "<i"), float: (6, "<f")}[type(content[0])]
        items = [string(each) if kind == 8 else struct.pack(form, each) for each in content]
        return struct.pack("<IIQ", 9, kind, len(content)) + b"".join(items)

    body = b"".join(string(key) + value(content) for key, content in pairs.items())
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + body


class TestGguf:
    def test_a_byte_level_tokenizer(self, shared_map: Callable[[str], TokenizerMap], tmp_path: Path) -> None:
        source = shared_map("openai/r50k_base")
        by_id = {token_id: token for token, token_id in (source.vocab or {}).items()}
        tokens = [by_id[number] for number in range(len(by_id))]
        types = [3 if token in (source.special_tokens or {}) else 1 for token in tokens]
        pairs = {
            "general.architecture": "gpt2",
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": source.merges,
            "tokenizer.chat_template": "{{ x }}",
        }
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf(pairs))
        built = parse_map(build_from_gguf(path, map_id="test/gguf"))
        for text in TEXTS:
            assert pick_tokenizer(built).encode(text) == pick_tokenizer(source).encode(text)

    def test_a_sentencepiece_tokenizer(
        self, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
    ) -> None:
        source = shared_map("meta-llama/llama-2")
        by_id = {token_id: token for token, token_id in (source.vocab or {}).items()}
        tokens = [by_id[number] for number in range(len(by_id))]
        types = [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)]
        places: dict[str, int] = {}
        for place, merge in enumerate(source.merges or []):
            places.setdefault(merge.replace(" ", ""), place)
        scores = [-float(places.get(token, len(places))) for token in tokens]
        path = tmp_path / "model.gguf"
        pairs = {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.add_space_prefix": True,
        }
        path.write_bytes(gguf(pairs))
        built = parse_map(build_from_gguf(path, map_id="test/gguf"))
        for text in TEXTS:
            assert pick_tokenizer(built).encode(text) == pick_tokenizer(source).encode(text), text

    def test_every_cut_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        whole = gguf({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b"]})
        path.write_bytes(whole)
        assert read_gguf_metadata(path)["tokenizer.ggml.tokens"] == ["a", "b"]
        for stop in range(len(whole)):
            path.write_bytes(whole[:stop])
            with pytest.raises(MapBuildError):
                read_gguf_metadata(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
            b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40),
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60),
            b"GGUF"
            + struct.pack("<IQQQ", 3, 0, 1, 1)
            + b"k"
            + struct.pack("<IIQ", 9, 4, MAX_ARRAY_ITEMS + 1),
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1),
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 99),
        ],
        ids=["version", "pairs", "key", "array", "nested array", "type"],
    )
    def test_declared_sizes_are_not_believed(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(MapBuildError):
            read_gguf_metadata(path)

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ({"tokenizer.ggml.model": "bert"}, "'bert' has no form"),
            ({"tokenizer.ggml.model": "gpt2"}, "no list of tokens"),
            (
                {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "new", "tokenizer.ggml.tokens": ["a"]},
                "'new' is not known",
            ),
            ({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["a"]}, "a score for each token"),
        ],
    )
    def test_other_tokenizers_are_refused(self, tmp_path: Path, pairs: dict[str, Any], message: str) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf(pairs))
        with pytest.raises(MapBuildError, match=message):
            build_from_gguf(path, map_id="test/gguf")
