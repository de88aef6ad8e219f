"""Maps made from the files of models encode as those files do."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from codec_core.building import build_from_gguf, build_from_tiktoken, build_from_tokenizer_json
from codec_core.building.gguf_reader import MAX_ARRAY_ITEMS, read_gguf_metadata
from codec_core.byte_level import ALPHABET
from codec_core.exceptions import MapBuildError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from tests.core.building.gguf_files import gguf
from tests.limits import within
from tests.texts import random_text

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
    @pytest.mark.slow
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

    @pytest.mark.parametrize(
        "scheme", ["always", *(pytest.param(each, marks=pytest.mark.slow) for each in ("first", "never"))]
    )
    def test_what_puts_a_mark_only_where_none_is(
        self, scheme: Any, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
    ) -> None:
        """Text that begins with a space gets no second mark from the pre-tokenizer, unlike the normalizer."""
        reference = hf_tokenizer(
            shared_map("meta-llama/llama-2"), byte_fallback=True, fuse_unk=True, unk_token="<unk>"
        )
        reference.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        reference.add_special_tokens(
            [AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")]
        )
        path = tmp_path / "tokenizer.json"
        reference.save(str(path))
        built = build_from_tokenizer_json(path, map_id="test/words")
        agree(built, reference)
        tokenizer, random = pick_tokenizer(parse_map(built)), Random(1)
        for _ in range(200):
            text = random.choice(["", " ", "▁", "<s>", "<s> ", " <s>"]) + random_text(random, 6)
            assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False).ids, text
        translated = Translator(shared_map("qwen/qwen2"), parse_map(built))
        for text in (" a b", "a b"):
            ids = [pick_tokenizer(shared_map("qwen/qwen2")).encode_ordinary(part) for part in text]
            given = [number for part in ids for number in translated.feed(part)] + translated.flush()
            assert given == tokenizer.encode_ordinary(text)
            translated.reset()

    def test_special_tokens_that_only_the_configuration_lists(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_file() | {"added_tokens": [{"content": "<s>", "id": 3}]}))
        listed = {"3": {"content": "<s>", "rstrip": True}, "4": {"content": "<pad>", "lstrip": True}}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": listed}))
        built = parse_map(build_from_tokenizer_json(path, map_id="test/small"))
        assert built.special_tokens == {"<s>": 3, "<pad>": 4}
        assert pick_tokenizer(built).encode("ab <pad>") == [2, 4]

    def test_an_added_token_keeps_the_id_that_its_file_gives_it(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_file() | {"added_tokens": [{"content": "<s>", "id": 3}]}))
        (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"4": {"content": "<s>"}}}')
        assert parse_map(build_from_tokenizer_json(path, map_id="test/small")).special_tokens == {"<s>": 3}

    def test_an_added_token_with_two_ids_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        twice = [{"content": "<s>", "id": number} for number in (3, 4)]
        path.write_text(json.dumps(small_file() | {"added_tokens": twice}))
        with pytest.raises(MapBuildError, match="'<s>' is listed with the ids 3 and 4"):
            build_from_tokenizer_json(path, map_id="test/small")

    @pytest.mark.parametrize("beside", [True, False])
    def test_a_chat_template_may_lie_in_a_file_of_its_own(self, beside: bool, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_file()))
        (tmp_path / "chat_template.jinja").write_text("{{ of_its_own }}")
        if beside:
            (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ beside }}"}')
        found = json.loads(build_from_tokenizer_json(path, map_id="test/small"))["chat_template"]
        assert found == "{{ of_its_own }}"  # `transformers` reads the file where both are there

    def test_a_chat_template_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_file()))
        (tmp_path / "chat_template.jinja").write_bytes(b"{{ \xff }}")
        with pytest.raises(MapBuildError, match="not UTF-8"):
            build_from_tokenizer_json(path, map_id="test/small")

    def test_an_id_that_nobody_could_discover_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_file()))
        with pytest.raises(MapBuildError, match="invalid id"):
            build_from_tokenizer_json(path, map_id="Test/Small")

    @pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
    def test_a_file_of_tiny_values_is_refused(self, file: str, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text(json.dumps(small_file()))
        (tmp_path / file).write_bytes(b'{"x":[' + b"[]," * 5_000_000 + b"[]]}")
        with (
            within(megabytes=96),
            pytest.raises(MapBuildError, match=r"more than 1750000 values|at most 4194304"),
        ):
            build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/small")

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
            ({"model": {"type": "WordPiece", "vocab": {}}}, "made from BPE and Unigram"),
            ({"normalizer": {"type": "Lowercase"}}, "'Lowercase' has no form"),
            ({"pre_tokenizer": {"type": "Whitespace"}}, "'Whitespace' has no form"),
            (
                {
                    "pre_tokenizer": {
                        "type": "Sequence",
                        "pretokenizers": [
                            {"type": "Digits", "individual_digits": True},
                            {"type": "ByteLevel", "add_prefix_space": True},
                        ],
                    }
                },
                "add_prefix_space behind other steps",
            ),
            ({"added_tokens": [{"content": "a", "id": 3}]}, "has id 3, in the vocabulary 0"),
            ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}, "no pair of tokens"),
            ({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}, "valid map"),
            ({"model": []}, "Expected `object`, got `array`"),
            ({"model": {"vocab": {"a": 0}}}, "missing required field `merges`"),
            ({"added_tokens": 5}, "at `\\$.added_tokens`"),
            ({"added_tokens": [{"content": "<x>", "id": "3"}]}, r"added_tokens\[0\].id"),
            ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}}, "not in vocab"),
            ({"pre_tokenizer": {"type": "Digits", "individual_digits": True}}, "neither byte-level nor"),
            (
                {
                    "pre_tokenizer": {
                        "type": "Sequence",
                        "pretokenizers": [
                            {"type": "ByteLevel", "add_prefix_space": False},
                            {"type": "Digits", "individual_digits": False},
                        ],
                    }
                },
                "'Digits' after ByteLevel cuts bytes",
            ),
            ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_"}}, "Metaspace with '_' for spaces"),
            (
                {
                    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"},
                    "normalizer": {"type": "Prepend", "prepend": "▁"},
                },
                "marked twice",
            ),
            (
                {
                    "pre_tokenizer": None,
                    "normalizer": {
                        "type": "Sequence",
                        "normalizers": [
                            {"type": "Prepend", "prepend": "▁"},
                            {"type": "Prepend", "prepend": "▁"},
                            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                        ],
                    },
                },
                "before the text twice",
            ),
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


WRONG = (
    None,
    5,
    -1,
    1.5,
    True,
    "x",
    "\ud800",
    "▁",
    [],
    [1],
    {},
    {"a": 1},
    {"type": "Sequence"},
    [["a", "b"]],
    2**40,
)


def mutated_file(random: Random) -> Any:
    """Return a tokenizer file in which one value, however deep, is another."""
    step = {"type": "Split", "pattern": {"Regex": r"\p{L}+|."}, "behavior": "Isolated", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    added = {"id": 3, "content": "<s>", "lstrip": False, "rstrip": True, "normalized": False}
    marks = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    file: Any = random.choice(
        [
            small_file()
            | {
                "added_tokens": [added],
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [step, bytes_]},
            },
            small_file()
            | {
                "pre_tokenizer": None,
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Prepend", "prepend": "▁"}, marks],
                },
            },
        ]
    )
    place, key = file, random.choice(list(file))
    while isinstance(place[key], dict | list) and place[key] and random.random() < 0.8:
        place = place[key]
        key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
    place[key] = random.choice(WRONG)
    return file


@pytest.mark.slow
def test_any_other_value_makes_a_map_or_a_typed_error(tmp_path: Path) -> None:
    random, made = Random(2), 0
    path = tmp_path / "tokenizer.json"
    for _ in range(600):
        path.write_text(json.dumps(mutated_file(random)))
        with contextlib.suppress(MapBuildError):
            build_from_tokenizer_json(path, map_id="test/small")
            made += 1
    assert 10 < made < 400


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

    def test_a_token_of_great_length_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "ranks.tiktoken"
        path.write_bytes(b"YQ== 0\n" + base64.b64encode(b"a" * 3_000_000) + b" 1\n")
        with within(), pytest.raises(MapBuildError, match="a token of 3000000 characters"):
            build_from_tiktoken(path, map_id="test/ranks", pattern="cl100k_base")

    @pytest.mark.parametrize("content", ["YQ==", "YQ== x", "!! 1", "YQ== 0\nYg== 0", "YQ== 0\rYg== 1"])
    def test_damaged_files_are_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "ranks.tiktoken"
        path.write_text(content)
        with pytest.raises(MapBuildError):
            build_from_tiktoken(path, map_id="test/ranks", pattern="cl100k_base")


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

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"tokens": ["a", "b", "ab", "a"]}, "the tokens 0 and 3 are spelled alike: 'a'"),
            ({"token_type": [1, 1]}, "2 types for 3 tokens"),
        ],
    )
    def test_what_llama_cpp_does_not_load_is_refused(
        self, changes: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        section = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b", "ab"], "merges": ["a b"]} | changes
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf({f"tokenizer.ggml.{name}": value for name, value in section.items()}))
        with pytest.raises(MapBuildError, match=message):
            build_from_gguf(path, map_id="test/gguf")

    def test_empty_tokens_have_names_of_their_own(self, tmp_path: Path) -> None:
        section = {"model": "gpt2", "pre": "gpt-2", "tokens": [*ALPHABET, "ab", "", ""], "merges": ["a b"]}
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf({f"tokenizer.ggml.{name}": value for name, value in section.items()}))
        vocab = parse_map(build_from_gguf(path, map_id="test/gguf")).vocab
        assert vocab is not None
        assert [vocab["[EMPTY_257]"], vocab["[EMPTY_258]"]] == [257, 258]

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
            b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + struct.pack("<QcIB", 1, b"k", 0, 1) * 2,
        ],
        ids=["version", "pairs", "key", "array", "nested array", "type", "key twice"],
    )
    def test_declared_sizes_are_not_believed(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(MapBuildError):
            read_gguf_metadata(path)

    def test_more_metadata_than_any_file_has_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        array = (
            struct.pack("<Q", 1)
            + b"k"
            + struct.pack("<IIQ", 9, 12, MAX_ARRAY_ITEMS)
            + bytes(8 * MAX_ARRAY_ITEMS)
        )
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 12) + array * 12)
        with pytest.raises(MapBuildError, match="the metadata has more than"):
            read_gguf_metadata(path, lambda _: False)

    @pytest.mark.slow
    def test_random_damage_makes_a_map_or_a_typed_error(self, tmp_path: Path) -> None:
        whole = gguf(
            {
                "tokenizer.ggml.model": "llama",
                "tokenizer.ggml.tokens": ["<unk>", "a", "b", "ab"],
                "tokenizer.ggml.token_type": [2, 1, 1, 1],
                "tokenizer.ggml.scores": [0.0, 1.0, 2.0, 3.0],
                "tokenizer.ggml.add_space_prefix": True,
            }
        )
        path, random = tmp_path / "model.gguf", Random(3)
        for _ in range(400):
            data = bytearray(whole)
            for _ in range(random.randint(1, 3)):
                data[random.randrange(len(data))] = random.randrange(256)
            path.write_bytes(data)
            with contextlib.suppress(MapBuildError):
                build_from_gguf(path, map_id="test/gguf")

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [1]}, "tokenizer.ggml.tokens"),
            ({"tokenizer.ggml.model": ["gpt2"], "tokenizer.ggml.tokens": ["a"]}, "tokenizer.ggml.model"),
            ({"tokenizer.ggml.model": "bert"}, "'bert' has no form"),
            ({"tokenizer.ggml.model": "gpt2"}, "no list of tokens"),
            (
                {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "new", "tokenizer.ggml.tokens": ["a"]},
                "'new' has no form in a map: it is not known",
            ),
            ({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["a"]}, "a score for each token"),
        ],
    )
    def test_other_tokenizers_are_refused(self, tmp_path: Path, pairs: dict[str, Any], message: str) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(gguf(pairs))
        with pytest.raises(MapBuildError, match=message):
            build_from_gguf(path, map_id="test/gguf")
