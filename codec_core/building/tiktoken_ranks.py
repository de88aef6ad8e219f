"""A map from a file of tiktoken ranks: one base64 token and its rank a line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from codec_core.building.document import check_length, read_source, write_document
from codec_core.byte_level import encode_byte_level_chars
from codec_core.exceptions import MapBuildError
from codec_core.merging.by_list import merge_symbols
from codec_core.pretokenizer import ops_of_pattern
from codec_core.pretokenizer_program import ProgramV1

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

PATTERNS: Mapping[str, str] = {
    "r50k_base": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k_base": f"{_CONTRACTIONS}|{_WORDS}",
}
"""The patterns of tiktoken's encodings, by name; any other pattern is given as it is."""


def build_from_tiktoken(
    path: str | Path, *, map_id: str, pattern: str, special_tokens: Mapping[str, int] | None = None
) -> bytes:
    """Return the bytes of a map that encodes as tiktoken does with these ranks.

    Args:
        path: The file of ranks.
        map_id: The id of the map, `org/family`.
        pattern: The pattern that cuts texts into pieces, or the name of one in `PATTERNS`.
        special_tokens: The special tokens and their ids.

    Raises:
        MapBuildError: the file is damaged, or a rank or token stands twice.
    """
    ranks = _read_ranks(path)
    pattern = PATTERNS.get(pattern, pattern)
    ops = ops_of_pattern(pattern)
    return write_document(
        map_id,
        {encode_byte_level_chars(token): rank for token, rank in ranks.items()},
        special_tokens or {},
        encoder="byte_level",
        merges=_merges(ranks),
        pre_tokenizer_pattern=pattern,
        pre_tokenizer_program=None if ops is None else msgspec.to_builtins(ProgramV1(ops)),
        normalizer="none",
        ignore_merges=True,
    )


def _read_ranks(path: str | Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_source(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise MapBuildError(f"{path}:{number}: not a token in base64 and its rank") from error
    if len(set(ranks.values())) != len(ranks):
        raise MapBuildError(f"{path}: two tokens have the same rank")
    return ranks


def _merges(ranks: Mapping[bytes, int]) -> list[str]:
    """Return the merge that makes each token, in the order of ranks.

    A token that its own bytes do not merge into has none: `ignore_merges` finds it where it is a whole piece.
    """
    spelled = {encode_byte_level_chars(token): rank for token, rank in ranks.items()}
    merges = []
    for token, rank in sorted(spelled.items(), key=lambda item: item[1]):
        check_length(token)
        parts = merge_symbols(list(token), _RanksBelow(spelled, rank))
        if len(parts) == 2:
            merges.append(" ".join(parts))
    return merges


class _RanksBelow(dict[str, int]):
    """The rank that two parts of a token have together, where it is below the token's own."""

    def __init__(self, ranks: Mapping[str, int], limit: int) -> None:
        self._ranks = ranks
        self._limit = limit

    def get(self, pair: str, default: Any = None) -> Any:
        rank = self._ranks.get(pair.replace(" ", ""), self._limit)
        return rank if rank < self._limit else default
