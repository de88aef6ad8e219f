"""A map from a file of tiktoken ranks: one base64 token and its rank a line."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from codec_core.building.document import check_tokens, read_source
from codec_core.building.ranks import write_ranks
from codec_core.exceptions import MapBuildError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HAN = r"&&[^\p{Han}]]"

PATTERNS: Mapping[str, str] = {
    "r50k_base": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k_base": f"{_CONTRACTIONS}|{_WORDS}",
    "o200k_base": (
        rf"{_CASED}*{_LOWER}+{_CONTRACTIONS}?|{_CASED}+{_LOWER}*{_CONTRACTIONS}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "kimi": (
        rf"[\p{{Han}}]+|{_CASED[:-1]}{_HAN}*{_LOWER[:-1]}{_HAN}+{_CONTRACTIONS}?"
        rf"|{_CASED[:-1]}{_HAN}+{_LOWER[:-1]}{_HAN}*{_CONTRACTIONS}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
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
        MapBuildError: the file is damaged, lists a rank or token twice, or its pattern leaves text out.
    """
    return write_ranks(map_id, _read_ranks(path), PATTERNS.get(pattern, pattern), special_tokens or {})


def _read_ranks(path: str | Path) -> dict[bytes, int]:
    data = read_source(path)
    check_tokens(data.count(b"\n"), path)
    ranks: dict[bytes, int] = {}
    # Not `splitlines`, which ends lines at more than what was counted. A carriage return is white space.
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            content, value = base64.b64decode(token, validate=True), int(rank)
        except ValueError as error:
            raise MapBuildError(f"{path}:{number}: not a token in base64 and its rank") from error
        if not content or ranks.setdefault(content, value) != value:
            raise MapBuildError(f"{path}:{number}: a token is empty, or there are two ranks for it")
    if len(set(ranks.values())) != len(ranks):
        raise MapBuildError(f"{path}: two tokens have the same rank")
    return ranks
