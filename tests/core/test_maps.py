"""Maps: both versions, what is refused and how the field is named, limits."""

import json
import operator

import msgspec
import pytest

from codec_core.detokenizer import detokenize
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import TokenizerMap, hash_map, parse_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.conftest import load_shared_map, maps_directory

BASE = {"id": "a/b", "version": "2", "vocab_size": 3}
BYTES_FIRST = {"byte_fallback_start": 0, "byte_fallback_end": 255}


def parse(**fields) -> TokenizerMap:
    return parse_map(json.dumps({**BASE, **fields}).encode())


def test_a_lone_surrogate_is_no_byte():
    """Only a map made in memory can hold one."""
    fields = {"vocab_size": 356, "byte_fallback_start": 100, "byte_fallback_end": 355}
    TokenizerMap.from_json({**BASE, **fields, "vocab": {"?": 100 + ord("?")}})
    with pytest.raises(TokenizerMapValidationError, match="which is that of a byte"):
        TokenizerMap.from_json({**BASE, **fields, "vocab": {"\ud800": 100 + ord("?")}})


def test_a_map_is_named_by_its_bytes():
    data = json.dumps({**BASE, "vocab": {"a": 0}}).encode()
    assert parse_map(data).hash == hash_map(data)
    assert TokenizerMap.from_json({**BASE, "vocab": {"a": 0}}).hash is None
    assert TokenizerMap.from_json(data.decode()).hash == hash_map(data)


def test_shared_maps_have_the_hashes_of_the_index(shared_map):
    index_path = maps_directory() / "index.json"
    if not index_path.is_file():
        pytest.skip(f"no shared maps at {index_path}; set CODEC_MAPS")
    for map_id, map_hash in json.loads(index_path.read_text()).items():
        assert load_shared_map(map_id).hash == map_hash


def test_a_document_cannot_name_itself():
    assert parse(vocab={"a": 0}, hash="sha256:00").hash != "sha256:00"


@pytest.mark.parametrize(
    "tokens", [{"0": "a", "1": "b"}, {"a": "0", "b": "1"}], ids=["id to text", "text to id"]
)
def test_version_1_is_read_both_ways_round(tokens):
    vocabulary = vocabulary_of(parse(tokens=tokens, version="1"))
    assert [vocabulary.token_bytes(number) for number in (0, 1)] == [b"a", b"b"]


def test_unknown_fields_are_ignored():
    assert parse(vocab={"a": 0}, _note="x", later={"deep": [1]}).vocab == {"a": 0}


def test_ids_above_a_too_small_vocab_size_are_valid():
    vocabulary = vocabulary_of(parse(vocab={"a": 0, "b": 9}))
    assert vocabulary.size == 10
    assert vocabulary.is_valid(9)
    assert not vocabulary.is_valid(5)
    assert not vocabulary.is_valid(10)
    assert not vocabulary.is_valid(-1)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("vocab", {}),
        ("vocab", {"vocab": {"a": -1}}),
        ("vocab", {"vocab": {"a": 2**32}}),
        ("vocab", {"vocab": {"a": 10**30}}),
        ("vocab", {"vocab": {"a": True}}),
        ("vocab", {"vocab": {"a": 1.5}}),
        ("vocab", {"vocab": {"a": "1"}}),
        ("vocab", {"vocab": {"a": 7, "b": 7}}),
        ("tokens", {"tokens": {"a": "b"}}),
        ("tokens", {"tokens": {"1": "a", "01": "b"}}),
        ("tokens", {"tokens": {"-1": "a"}}),
        ("encoder", {"vocab": {"a": 0}, "encoder": "bytes"}),
        ("byte_fallback_end", {"vocab": {"a": 0}, "byte_fallback_start": 3}),
        ("byte_fallback_start", {"vocab": {"a": 0}, "byte_fallback_end": 258}),
        ("byte_fallback", {"vocab": {"a": 0}, "byte_fallback_start": 3, "byte_fallback_end": 200}),
        ("byte_fallback", {"vocab": {"<0x00>": 5}, "byte_fallback_start": 3, "byte_fallback_end": 258}),
        ("'foo' has id 5 in vocab", {"vocab": {"foo": 5}, **BYTES_FIRST}),
        ("'a' has id 5 in vocab", {"tokens": {"5": "a"}, **BYTES_FIRST}),
        ("special_tokens: id 1", {"vocab": {"a": 0}, "special_tokens": {"<a>": 1, "<b>": 1}}),
        ("special_tokens", {"vocab": {"a": 0}, "special_tokens": {"a": 1}}),
        ("special_tokens", {"vocab": {"a": 0}, "special_tokens": {"<s>": 0}}),
        ("special_tokens: the id -2 of '<s>'", {"vocab": {"a": 0}, "special_tokens": {"<s>": -2}}),
        ("special_tokens: the name of id 2 is", {"vocab": {"a": 0}, "special_tokens": {"": 2}}),
        ("merges", {"vocab": {"a": 0}, "merges": [["a", "b"]]}),
        ("merges", {"vocab": {"a": 0}, "merges": [1]}),
        ("merges", {"vocab": {"a": 0}, "merges": "a b"}),
        ("merges", {"vocab": {"a": 0}, "merges": {"a": "b"}}),
        ("pre_tokenizer_program", {"vocab": {}, "pre_tokenizer_program": {"version": 3, "ops": []}}),
        ("pre_tokenizer_program", {"vocab": {}, "pre_tokenizer_program": {"version": 1, "ops": []}}),
        ("pre_tokenizer_program", {"vocab": {}, "pre_tokenizer_program": {"version": 2, "stages": []}}),
        (
            "pre_tokenizer_program",
            {"vocab": {}, "pre_tokenizer_program": {"version": 1, "ops": [{"op": "dance"}]}},
        ),
        ("id", {"vocab": {}, "id": ""}),
        ("version", {"vocab": {}, "version": ""}),
        ("vocab_size", {"vocab": {}, "vocab_size": -1}),
    ],
)
def test_broken_maps_are_refused_by_field(field, fields):
    with pytest.raises(TokenizerMapValidationError, match=field):
        parse(**fields)


def test_the_id_of_a_byte_may_be_that_of_its_character():
    vocab = {"\t": 9, " ": 32, "\u2581": 256}
    tokenizer_map = parse(vocab=vocab, encoder="metaspace", **BYTES_FIRST)
    assert detokenize(tokenizer_map, [256, 9, 32]) == "\t "


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"id":' * 100_000])
def test_what_is_no_map_is_refused(data):
    with pytest.raises(TokenizerMapValidationError):
        parse_map(data)


def test_a_sparse_map_is_refused_when_it_is_used():
    with pytest.raises(TokenizerMapValidationError, match="sparse"):
        vocabulary_of(parse(vocab={"a": 2**32 - 1}))


def test_merges_are_a_sequence_that_is_decoded_when_it_is_looked_at():
    merges = parse(vocab={"a": 0}, merges=["a b", "Ġ \u0120", '" \n']).merges
    assert len(merges) == 3
    assert merges == ["a b", "Ġ Ġ", '" \n']
    assert merges != ["a b"]
    assert list(merges) == merges[:]
    assert merges[-1] == '" \n'
    assert "a b" in merges
    assert repr(merges) == "<3 merges>"
    assert operator.add(merges, ["c d"]) == [*merges, "c d"]
    assert operator.add(["c d"], merges) == ["c d", *merges]
    assert parse(vocab={"a": 0}, merges=None).merges is None
    assert not parse(vocab={"a": 0}, merges=[]).merges


def test_a_wrong_entry_further_on_in_the_merges_is_refused_when_they_are_used():
    tokenizer_map = parse(vocab={"a": 0}, merges=["a a", 5], encoder="byte_level")
    with pytest.raises(TokenizerMapValidationError, match=r"merges: .* `int`"):
        pick_tokenizer(tokenizer_map)


@pytest.mark.parametrize("map_id", ["qwen/qwen2", "meta-llama/llama-2"])
def test_a_map_gives_its_document_back(map_id, shared_map):
    tokenizer_map = shared_map(map_id)
    again = TokenizerMap.from_json(tokenizer_map.to_json())
    assert again == tokenizer_map
    assert again.pre_tokenizer_program == tokenizer_map.pre_tokenizer_program
    assert again.to_json() == tokenizer_map.to_json()


def test_a_map_made_in_memory_gives_its_document():
    fields = {**BASE, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "encoder": "byte_level"}
    assert json.loads(TokenizerMap.from_json(fields).to_json()) == fields


def test_maps_are_frozen_and_short_to_print():
    tokenizer_map = parse(vocab={"a": 0})
    assert len(repr(tokenizer_map)) < 100
    with pytest.raises(AttributeError):
        tokenizer_map.id = "c"
    assert msgspec.json.decode(msgspec.json.encode(tokenizer_map))["vocab"] == {"a": 0}


def test_the_identity_of_a_map_is_that_of_its_content():
    fields = {**BASE, "vocab": {"a": 0, "b": 1}}
    made = TokenizerMap.from_json(fields)
    assert made.identity == TokenizerMap.from_json(fields).identity == parse_map(made.to_json()).hash
    assert made.identity != TokenizerMap.from_json({**BASE, "vocab": {"a": 1, "b": 0}}).identity
    parsed = parse(vocab={"a": 0})
    assert parsed.identity == parsed.hash == vocabulary_of(parsed).identity
    alone, other = (TokenizerMap("a/b", "2", 1, vocab={name: 0}) for name in ("\ud800", "\ud801"))
    assert alone.identity != other.identity
