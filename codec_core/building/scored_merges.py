"""The merges of a SentencePiece BPE vocabulary, which states scores and no merges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import isnan

from codec_core.building.document import check_length
from codec_core.exceptions import MapBuildError
from codec_core.maps import MAX_MAP_VALUES


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
    found = list(islice(_pairs(vocab, special, scores), MAX_MAP_VALUES))
    if len(found) == MAX_MAP_VALUES:
        raise MapBuildError(f"the tokens can be made in more than {MAX_MAP_VALUES} ways, too many for a map")
    return found


def _pairs(vocab: Mapping[str, int], special: Mapping[str, int], scores: Sequence[float]) -> Iterator[str]:
    ordinary = {token: number for token, number in vocab.items() if token not in special}
    for token, _ in sorted(ordinary.items(), key=lambda item: (-scores[item[1]], item[1])):
        check_length(token)
        for cut in range(1, len(token)):
            if token[:cut] in ordinary and token[cut:] in ordinary:
                yield f"{token[:cut]} {token[cut:]}"
