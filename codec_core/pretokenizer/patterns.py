"""Patterns that are no known sequence of operations: run by `re` where proven to take linear time.

The others are searched for within a budget.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.pretokenizer.pattern_code import PatternCode, UnreadPatternError
from codec_core.pretokenizer.pattern_parser import parse_pattern
from codec_core.pretokenizer.pattern_proof import PatternProof, UnprovenPatternError
from codec_core.pretokenizer.pattern_search import PatternSearch
from codec_core.pretokenizer.pattern_spelling import spell
from codec_core.pretokenizer.pattern_tree import (
    Alternatives,
    Atomic,
    Chars,
    Look,
    Node,
    Repeat,
    Sequence,
    without_commitment,
)
from codec_core.unicode.charsets import ANYTHING, LAST, CharSet


class PatternStage:
    """Cuts by the matches of a pattern; what lies between them comes out as it is.

    A match is settled when the search for it ended before the text did.

    Attributes:
        is_total: whether it is proven that every character of every text belongs to a match.
    """

    def __init__(self, tree: Node, proof: PatternProof, last: int) -> None:
        self._proof = proof
        self._pattern = re.compile(spell(tree, last))
        self.is_total = proof.is_total
        self.cut: Callable[[str], list[str]] = self._pattern.findall if self.is_total else self._cut_with_gaps

    def _cut_with_gaps(self, text: str) -> list[str]:
        return [text[start:stop] for start, stop, _ in self._spans(text)]

    def _spans(self, text: str) -> Iterator[tuple[int, int, bool]]:
        return _with_gaps((match.span() for match in self._pattern.finditer(text)), len(text))

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the pieces that are found without a look at the end of the text, and the rest."""
        spans = list(self._spans(text))
        keep = self._first_open(text, spans)
        settled = spans[keep - 1][1] if keep else 0
        return [text[start:stop] for start, stop, _ in spans[:keep]], text[settled:]

    def _first_open(self, text: str, spans: list[tuple[int, int, bool]]) -> int:
        """Return the number of the first piece that may change.

        From the end backwards, until a search has ended and its piece lies well before the end: a search
        that goes on is followed by one that does too, or takes all but the last few characters.
        """
        ahead, ends_open = self._proof.reads_ahead + 1, self._proof.ends_open
        first = len(spans)
        for number in range(len(spans) - 1, -1, -1):
            start, stop, is_match = spans[number]
            # Between matches a search begins at every character; what is there ends where a match begins.
            goes_on = not is_match and (stop == len(text) or first == number + 1)
            if goes_on or any(
                ends_open(text, place) for place in range(start, start + 1 if is_match else stop)
            ):
                first = number
            elif stop + ahead < len(text):
                break
        return first

    def reach(self, rest: str) -> str:  # noqa: ARG002
        """Return nothing: any part of the rest may yet be divided."""
        return ""


class SearchStage:
    """Cuts by the matches of a pattern that may read any distance beyond them, so that nothing is settled."""

    is_total: Final = False

    def __init__(self, code: PatternCode) -> None:
        self._search = PatternSearch(code)

    def cut(self, text: str) -> list[str]:
        """Return the matches and what lies between them.

        Raises:
            TokenizerMapValidationError: the pattern reads the text too often.
        """
        return [text[start:stop] for start, stop, _ in _with_gaps(self._search.spans(text), len(text))]

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return nothing settled."""
        return [], text

    def reach(self, rest: str) -> str:  # noqa: ARG002
        """Return nothing: any part of the rest may yet be divided."""
        return ""


def _with_gaps(matches: Iterable[tuple[int, int]], length: int) -> Iterator[tuple[int, int, bool]]:
    """Yield where each piece of a text begins and ends, and whether it is a match."""
    position = 0
    for start, stop in matches:
        if start > position:
            yield position, start, False
        yield start, stop, True
        position = stop
    if position < length:
        yield position, length, False


class TailStage:
    r"""Isolates a run of some characters at the end of the text: `\s+$`.

    As a pattern it would begin a search at each character of every run, and read the run to its end.
    """

    is_total: Final = False

    def __init__(self, characters: CharSet) -> None:
        self._characters = characters

    def _start_of_tail(self, text: str) -> int:
        start = len(text)
        while start and text[start - 1] in self._characters:
            start -= 1
        return start

    def cut(self, text: str) -> list[str]:
        """Return what is before the run, and the run."""
        start = self._start_of_tail(text)
        return [part for part in (text[:start], text[start:]) if part]

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return nothing settled: where the text ends is what cuts it."""
        return [], text

    def reach(self, rest: str) -> str:
        """Return the rest before a run that may be the last."""
        return rest[: self._start_of_tail(rest)]


def pattern_stage(pattern: str, last: int = LAST) -> PatternStage | SearchStage | TailStage:
    """Return the stage of a pattern, for texts without characters behind a last one.

    Raises:
        TokenizerMapValidationError: the pattern is not read; the message says where.
    """
    tree = without_commitment(parse_pattern(pattern))
    match tree:
        # A run of any kind, as there is only one end to reach.
        case Sequence((Repeat(Chars(characters), 1, None), Look(Chars(end), True))) if end == ANYTHING:
            return TailStage(characters)
    try:
        code = PatternCode(tree)
    except UnreadPatternError as error:
        raise TokenizerMapValidationError(f"pre_tokenizer_pattern: refused, because {error}") from None
    try:
        return PatternStage(tree, PatternProof(code), last)
    except UnprovenPatternError:
        return SearchStage(code)


def sets_of(node: Node) -> set[CharSet]:
    """Return the sets of characters that a pattern tells apart."""
    match node:
        case Chars(chars):
            return {chars}
        case Sequence(parts) | Alternatives(parts):
            return set().union(*map(sets_of, parts))
        case Repeat(body) | Look(body) | Atomic(body):
            return sets_of(body)
