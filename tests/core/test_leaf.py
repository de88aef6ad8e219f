"""Tool results that arrive tokenized."""

import pytest

from codec_core.exceptions import LeafMapMismatchError, LeafTokenizationError
from codec_core.leaf import LEAF_TOKENIZATION, leaf_ids, read_leaf, write_leaf

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
