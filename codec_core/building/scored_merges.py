"""The merges of a SentencePiece BPE vocabulary, which states scores and no merges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan

from codec_core.building.document import check_length
from codec_core.exceptions import MapBuildError

WAYS = 16
"""Ways of making a token of two others, on average; known vocabularies have two. All are written out."""

SPARE_CHARACTERS = 2**20
"""Allowed beside that: a small vocabulary may be made in many ways at little cost."""


def merges_by_score(
    vocab: Mapping[str, int], special: Mapping[str, int], scores: Sequence[float]
) -> list[str]:
    """Return all pairs of tokens that make a token, best score first: SentencePiece merges by the result.

    Raises:
        MapBuildError: a token is too long to look for its parts, a score is no number, or there are more
            pairs than a map may have.
    """
    if any(map(isnan, scores)):
        raise MapBuildError("a score is no number, so the order of merges is not known")
    left = SPARE_CHARACTERS + WAYS * sum(map(len, vocab))
    found: list[str] = []
    for pair in _pairs(vocab, special, scores):
        found.append(pair)
        left -= len(pair)
        if left < 0:
            raise MapBuildError("the tokens can be made of each other in too many ways for a map")
    return found


def _pairs(vocab: Mapping[str, int], special: Mapping[str, int], scores: Sequence[float]) -> Iterator[str]:
    # Text that is merged has U+2581 for each space: a token with a space is found as a whole, or never.
    ordinary = {token: number for token, number in vocab.items() if token not in special and " " not in token}
    lengths = set(map(len, ordinary))
    for token, _ in sorted(ordinary.items(), key=lambda item: (-scores[item[1]], item[1])):
        check_length(token)
        for cut in range(1, len(token)):
            # Most divisions of a long token are at a length that no token has.
            if cut in lengths and len(token) - cut in lengths:
                left, right = token[:cut], token[cut:]
                if left in ordinary and right in ordinary:
                    yield f"{left} {right}"
