"""The place of a result among the ids: the smallest range that holds it, whatever the tokenizer merges."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from codec_agents.dialects.encoding import PieceEncoder, place_of
from codec_agents.dialects.pieces import Ids, Literal, Marker, Piece, Told
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import vocabulary_of

MAPS = ["qwen/qwen3", "meta-llama/llama-3", "mistralai/mistral-v3", "microsoft/phi-4", "tiiuae/falcon"]
PARTS = ["a", " b", "\n", "\n\n", "Oslo", "三", "😀", ".", "  ", "12", "_x", "é", '{"k": ', "}", "<|x|>", ""]


def bare(pieces: list[Piece]) -> list[Piece]:
    return [piece.piece if isinstance(piece, Told) else piece for piece in pieces]


@pytest.mark.parametrize("map_id", MAPS)
def test_range_holds_the_part_and_no_id_more(map_id: str, shared_map: Callable[[str], TokenizerMap]) -> None:
    vocabulary = vocabulary_of(shared_map(map_id))
    encoder = PieceEncoder(vocabulary, list(vocabulary.special_tokens)[:1])
    draw = random.Random(map_id)
    for _ in range(200):
        texts = ["".join(draw.choices(PARTS, k=draw.randint(0, 4))) for _ in range(3)]
        before, part, after = texts
        pieces: list[Piece] = [Literal(before), Told(Literal(part)), Literal(after)]
        ids, ((start, stop),) = encoder.placed(pieces)
        assert ids == encoder.ids(bare(pieces))
        lengths = [len(vocabulary.byte_table[token_id]) for token_id in ids]
        marked = sum(lengths) - len("".join(texts).encode())
        if marked not in (0, 1):  # normalized
            assert (start, stop) == (0, len(ids))
            continue
        first = len(before.encode()) + marked
        last = first + len(part.encode())
        if first == last:
            assert start == stop
            continue
        assert sum(lengths[:start]) <= first
        assert sum(lengths[:stop]) >= last
        assert sum(lengths[: start + 1]) > first
        assert sum(lengths[: stop - 1]) < last


def test_ids_and_markers_stand_between_texts(shared_map: Callable[[str], TokenizerMap]) -> None:
    vocabulary = vocabulary_of(shared_map("qwen/qwen3"))
    (marker, *_) = vocabulary.special_tokens
    encoder = PieceEncoder(vocabulary, [marker])
    pieces: list[Piece] = [Literal("x"), Told(Ids((5, 6, 7))), Marker(marker), Told(Literal("Oslo"))]
    ids, places = encoder.placed(pieces)
    (one, two) = (ids[start:stop] for start, stop in places)
    assert one == [5, 6, 7]
    assert two == encoder.encode("Oslo")
    assert ids == encoder.ids(bare(pieces))


def test_text_that_is_normalized_is_told_as_a_whole() -> None:
    assert place_of("ab\u0301c", 1, 3, [0, 1], lambda number: [b"a", b"\xc3\xa1x"][number]) == (0, 2)
