"""Learn byte-pair merges, readably and always in the same order.

The textbook algorithm: count the neighbouring pairs of every distinct piece, merge the most frequent pair
everywhere, repeat. Ties go to the pair that sorts first, so a corpus has exactly one result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

Pair = tuple[str, str]

RAREST_PAIR = 2
"""A pair seen once says nothing about the language; merging it would only memorize the corpus."""


def learn_merges(pieces: Iterable[str], limit: int, *, alphabet: set[str] | None = None) -> list[Pair]:
    """Return up to `limit` merges, most frequent first.

    Symbols outside `alphabet`, if one is given, take part in no merge.
    """
    counts = Counter(pieces)
    words = {piece: list(piece) for piece in counts}
    pairs: Counter[Pair] = Counter()
    where: dict[Pair, set[str]] = {}
    for piece, symbols in words.items():
        _count(piece, symbols, counts[piece], pairs, where)
    merges: list[Pair] = []
    while len(merges) < limit:
        best = _most_frequent(pairs, alphabet)
        if best is None:
            break
        merges.append(best)
        for piece in sorted(where.pop(best)):
            _count(piece, words[piece], -counts[piece], pairs, where)
            words[piece] = merge_pair(words[piece], best)
            _count(piece, words[piece], counts[piece], pairs, where)
        del pairs[best]
        if alphabet is not None:
            alphabet = alphabet | {best[0] + best[1]}
    return merges


def merge_pair(symbols: list[str], pair: Pair) -> list[str]:
    """Return the symbols with every occurrence of the pair joined, from left to right."""
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def _count(
    piece: str, symbols: list[str], weight: int, pairs: Counter[Pair], where: dict[Pair, set[str]]
) -> None:
    for pair in pairwise(symbols):
        pairs[pair] += weight
        where.setdefault(pair, set()).add(piece)


def _most_frequent(pairs: Counter[Pair], alphabet: set[str] | None) -> Pair | None:
    best: Pair | None = None
    most = RAREST_PAIR
    for pair, count in pairs.items():
        if count < most or (count == most and best is not None and pair >= best):
            continue
        if alphabet is None or (pair[0] in alphabet and pair[1] in alphabet):
            best, most = pair, count
    return best
