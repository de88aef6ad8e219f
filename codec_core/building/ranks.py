"""A map from tokens of bytes and their ranks: what tiktoken and tekken merge by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codec_core.building.document import check_length, write_document
from codec_core.building.pre_tokenizers import pattern_fields, refuse_gaps
from codec_core.building.verification import verify
from codec_core.byte_level import encode_byte_level_chars
from codec_core.merging.by_list import merge_symbols


def write_ranks(
    map_id: str,
    ids: Mapping[bytes, int],
    pattern: str,
    special: Mapping[str, int],
    **fields: Any,
) -> bytes:
    """Return the bytes of a map that encodes by ranks.

    Args:
        map_id: The id of the map, `org/family`.
        ids: The tokens, whose ids are in the order of their ranks.
        pattern: The pattern that cuts texts into pieces.
        special: The control tokens.
        fields: Further fields.

    Raises:
        MapBuildError: the pattern leaves text out, or is not read; a token is too long.
    """
    refuse_gaps(pattern, "an encoding that leaves out what its pattern does")
    data = write_document(
        map_id,
        {encode_byte_level_chars(token): number for token, number in ids.items()},
        special,
        encoder="byte_level",
        merges=_merges(ids),
        **pattern_fields(pattern),
        normalizer="none",
        ignore_merges=True,  # the engines of ranks give a piece that is a token as that one id
        **fields,
    )
    verify(data)
    return data


def _merges(ids: Mapping[bytes, int]) -> list[str]:
    """Return the merge that makes each token, in the order of ranks.

    A token that its own bytes do not merge into has none: `ignore_merges` finds it where it is a whole piece.
    """
    spelled = {encode_byte_level_chars(token): rank for token, rank in ids.items()}
    merges = []
    for token, rank in sorted(spelled.items(), key=lambda item: item[1]):
        check_length(token)
        parts = merge_symbols(list(token), _RanksBelow(spelled, rank))
        if len(parts) == 2:
            merges.append(" ".join(parts))
    return merges


class _RanksBelow(dict[str, int]):
    """The rank that two parts of a token have together, where it is below the token's own.

    A mapping for `merge_symbols`, which only gets from it. It is looked up instead of made: each token would
    need a copy of all ranks.
    """

    def __init__(self, ranks: Mapping[str, int], limit: int) -> None:
        self._ranks = ranks
        self._limit = limit

    def get(self, pair: str, default: Any = None) -> Any:
        rank = self._ranks.get(pair.replace(" ", ""), self._limit)
        return rank if rank < self._limit else default
