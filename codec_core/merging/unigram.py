"""Divide text into the tokens whose scores sum highest: what SentencePiece calls a unigram model.

The best division of each beginning of the text is found from those of shorter ones. Of two that are equal,
the one found first is kept, as the references do it; so sums are made in their order, and in their precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from codec_core.exceptions import TokenizerMapValidationError, UnencodableTextError
from codec_core.vocabulary import Vocabulary

MAX_TOKEN = 1024
"""Characters of a token; SentencePiece makes them of 16 at most, unless told otherwise."""

MAX_LENGTHS = 128
"""Lengths of tokens that begin with one character: at each place of a text, a token of each is looked for."""

UNKNOWN_PENALTY = 10.0
"""How much lower than the lowest score a character without a token counts."""

_RESTART = 100_000.0
"""A sum in single precision further than this from 0 is taken off all that were made from it and those beside
it, as SentencePiece 0.2.3 does it, so that long texts keep the precision of short ones."""

_SINGLE = Struct("f")
"""Native on purpose: a sum past the largest float becomes infinite, as in C, where "<f" would raise."""


def single(number: float) -> float:
    """Return a number rounded to 32 bits."""
    rounded: float = _SINGLE.unpack(_SINGLE.pack(number))[0]
    return rounded


def unknown_score(ordinary: Iterable[float]) -> float:
    """Return the score of a character without a token, as the references derive it from the ordinary tokens.

    Raises:
        ValueError: there are none.
    """
    return single(min(ordinary) - UNKNOWN_PENALTY)


class UnigramDivider:
    """Divides pieces of text in which U+2581 stands for spaces."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Take the ordinary tokens of a vocabulary and their scores.

        Raises:
            TokenizerMapValidationError: a token is longer than `MAX_TOKEN`, or tokens that begin alike are of
                more than `MAX_LENGTHS` lengths.
        """
        stated = vocabulary.map.unigram
        assert stated is not None
        self._vocabulary = vocabulary
        # Bytes stand for characters without a token, and do not divide text. Text tokens of the model do:
        # normalization writes some of them where the text spells something else.
        fallback = vocabulary.byte_fallback
        self._entries = {
            token: (number, stated.scores[number])
            for token, number in vocabulary.ordinary().items()
            if token and number not in fallback
        }
        longest = max(map(len, self._entries), default=0)
        if longest > MAX_TOKEN:
            raise TokenizerMapValidationError(
                f"vocab: a token has {longest} characters; with scores the limit is {MAX_TOKEN}"
            )
        found: dict[str, set[int]] = {}
        for token in self._entries:
            found.setdefault(token[0], set()).add(len(token))
        most = max(map(len, found.values()), default=0)
        if most > MAX_LENGTHS:
            raise TokenizerMapValidationError(
                f"vocab: tokens that begin alike have {most} lengths; with scores the limit is {MAX_LENGTHS}"
            )
        self._lengths = {character: sorted(lengths) for character, lengths in found.items()}
        self._is_single = stated.precision == "single"
        self._unknown = (
            self._sum(min(stated.scores, default=0.0), -UNKNOWN_PENALTY)
            if stated.unknown is None
            else stated.unknown
        )

    def ids_of(self, piece: str) -> tuple[int, ...]:
        """Return the ids of a piece.

        Raises:
            UnencodableTextError: a character has no token and the vocabulary no bytes to fall back to.
        """
        tokens = self._divide(piece)
        ids: list[int] = []  # from the end, as the division is known by where tokens end
        place = len(piece)
        while place:
            start, number = tokens[place]
            ids += [number] if number >= 0 else reversed(self._bytes_of(piece[start:place]))
            place = start
        return tuple(reversed(ids))

    def _divide(self, piece: str) -> list[tuple[int, int]]:
        """Return, by where it ends, where the last token of the best division begins, and its id or -1."""
        entries, lengths, size = self._entries, self._lengths, len(piece)
        best: list[float | None] = [0.0, *[None] * size]
        tokens = [(0, -1)] * (size + 1)
        for start in range(size):
            till_here = best[start]
            assert till_here is not None  # each character is at least a token of its own, known or not
            if self._is_single and abs(till_here) > _RESTART:
                _restart(best, start)
                till_here = 0.0
            is_known = False
            for length in lengths.get(piece[start], ()):
                stop = start + length
                entry = entries.get(piece[start:stop]) if stop <= size else None
                if entry is not None:
                    self._offer(best, tokens, stop, start, entry[0], self._sum(till_here, entry[1]))
                    is_known = is_known or length == 1
            if not is_known:  # as in the references: no token of its own, longer ones or not
                self._offer(best, tokens, start + 1, start, -1, self._sum(till_here, self._unknown))
        return tokens

    def _offer(
        self,
        best: list[float | None],
        tokens: list[tuple[int, int]],
        stop: int,
        start: int,
        number: int,
        score: float,
    ) -> None:
        known = best[stop]
        if known is None or score > known:
            best[stop] = score
            tokens[stop] = start, number

    def _sum(self, score: float, other: float) -> float:
        return single(score + other) if self._is_single else score + other

    def _bytes_of(self, character: str) -> list[int]:
        fallback = self._vocabulary.byte_fallback
        if not fallback:
            raise UnencodableTextError(
                f"vocabulary {self._vocabulary.id} has no token for {character!r}, nor for its bytes"
            )
        return [fallback[byte] for byte in character.encode()]


def _restart(best: list[float | None], start: int) -> None:
    """Take the sum at a place off all sums from there on. Tokens from before it end within `MAX_TOKEN`."""
    offset = best[start]
    assert offset is not None
    for place in range(start, min(start + MAX_TOKEN, len(best))):
        score = best[place]
        if score is not None:
            best[place] = single(score - offset)
