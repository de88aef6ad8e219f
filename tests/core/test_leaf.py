"""Tool results that arrive tokenized."""

import pytest

from codec_core.exceptions import CodecError, LeafMapMismatchError, LeafTokenizationError
from codec_core.frames import CodecRequest, encode_request, encoder
from codec_core.leaf import LEAF_TOKENIZATION, leaf_ids, read_leaf, write_leaf
from codec_core.maps import TokenizerMap
from codec_core.safety import descriptor_from_json, validate_safety_policy
from codec_core.versions import parse_version_policy_document

MAP = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def test_ids_of_the_same_map_are_used_as_they_are():
    assert leaf_ids(write_leaf(MAP, [1, 2, 3]), MAP) == (1, 2, 3)


def test_ids_of_another_map_are_an_error_or_the_text_is_used():
    meta = write_leaf(OTHER, [1])
    with pytest.raises(LeafMapMismatchError) as caught:
        leaf_ids(meta, MAP)
    assert (caught.value.expected, caught.value.actual) == (MAP, OTHER)
    assert leaf_ids(meta, MAP, mismatch="text") is None
    assert leaf_ids(meta, None, mismatch="text") is None


@pytest.mark.parametrize("meta", [None, {}, {"other": 1}])
def test_a_block_may_carry_none(meta):
    assert read_leaf(meta) is None
    assert leaf_ids(meta, MAP) is None


@pytest.mark.parametrize(
    "raw",
    [
        [],
        {"map_id": MAP},
        {"ids": [1]},
        {"map_id": "qwen/qwen2", "ids": [1]},
        {"map_id": MAP.upper(), "ids": [1]},
        {"map_id": MAP, "ids": [-1]},
        {"map_id": MAP, "ids": [2**32]},
        {"map_id": MAP, "ids": [True]},
        {"map_id": MAP, "ids": [1.0]},
        {"map_id": MAP, "ids": "1"},
    ],
)
def test_malformed_ones_are_errors_also_where_the_text_would_do(raw):
    with pytest.raises(LeafTokenizationError):
        leaf_ids({LEAF_TOKENIZATION: raw}, MAP, mismatch="text")


@pytest.mark.parametrize(("name", "ids"), [("x", [1]), (MAP, [-1]), (MAP, [True])])
def test_only_well_formed_ones_are_written(name, ids):
    with pytest.raises(LeafTokenizationError):
        write_leaf(name, ids)


LONE = "\ud800"
"""As `json.loads` reads it; `msgspec` fails on it where it expects no text."""
POLICY = {
    "id": "p",
    "version": "1",
    "tokenizers": ["a/b"],
    "categories": [{"name": "n", "action": "stop"}],
    "classifier": {"family": "f"},
}


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_leaf({LEAF_TOKENIZATION: LONE}),
        lambda: read_leaf({LEAF_TOKENIZATION: {"map_id": "sha256:" + "0" * 64, "ids": [LONE]}}),
        lambda: descriptor_from_json(POLICY | {"classifier": LONE}),
        lambda: validate_safety_policy(POLICY | {"tokenizers": LONE}),
        lambda: TokenizerMap.from_json({"id": "a/b", "version": "2", "vocab_size": 1, "vocab": LONE}),
        lambda: encoder("msgpack").encode([LONE]),
        lambda: encode_request(CodecRequest(prompt_ids=LONE)),
        lambda: parse_version_policy_document({"minimum_version": "0.1", "required_features": LONE}),
    ],
)
def test_a_lone_surrogate_where_no_text_belongs_is_a_typed_error(read):
    with pytest.raises(CodecError):
        read()
