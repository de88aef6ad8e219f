"""Search for a pattern that is not proven to take linear time: character by character, within a budget.

All places at which a match may begin are followed at once, and of attempts that have come to the same place
of the pattern only the first is kept. So finding one match takes time linear in what is read. A pattern that
reads far beyond its matches again and again, or follows many attempts at once, runs out of its budget, which
is counted in characters and attempts and not in seconds: the same text always fails, or never.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.pretokenizer.pattern_code import CHARACTER, END, JUMP, LOOK, MATCH, SPLIT, PatternCode

READ_A_CHARACTER = 8
READ_ANYWAY = 10_000
"""Characters that may be read for each one of a text, and for any text. The patterns of known tokenizers that
are searched for read 1.5 on prose; a short text costs little however often it is read."""

ATTEMPTS_A_READ = 8
"""Attempts that are followed at once for one character's price: the usual pattern has a few. One with bounded
repetitions can have 4,096, and takes milliseconds a character."""

MAX_KEPT = 2**19
"""Places in all steps that are kept, by default, at some fifty bytes each. The usual pattern has few steps of
a dozen places; repetitions with large bounds can have thousands of both."""


class Step(NamedTuple):
    """The state after one more character.

    Attributes:
        places: where in the pattern the attempts go on, in the order of their priority.
        parents: the number of the attempt that each comes from.
        matched: the number of the attempt that ends in a match before the character, or None.
    """

    places: tuple[int, ...]
    parents: tuple[int, ...]
    matched: int | None


class PatternSearch:
    """Finds the matches of a pattern."""

    def __init__(self, code: PatternCode, *, max_kept: int = MAX_KEPT) -> None:
        self._code = code
        self._room = max_kept
        self._steps: dict[tuple[tuple[int, ...], int], Step] = {}

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where each match begins and ends.

        Raises:
            TokenizerMapValidationError: the pattern reads the text too often.
        """
        left = READ_A_CHARACTER * len(text) + READ_ANYWAY
        position = 0
        while position < len(text):
            span, left = self._next(text, position, left)
            if span is None:
                return
            yield span
            position = span[1]

    def _next(self, text: str, start: int, left: int) -> tuple[tuple[int, int] | None, int]:
        """Return the first match from a place on, and what is left of the budget."""
        places: tuple[int, ...] = ()
        begun: list[int] = []
        found: tuple[int, int] | None = None
        symbol = self._code.symbol
        for place in range(start, len(text) + 1):
            # At each place one more attempt begins, of the lowest priority, until one has matched.
            if found is None:
                places, begun = (*places, 0), [*begun, place]
            left -= 1 + len(places) // ATTEMPTS_A_READ
            if left < 0:
                raise TokenizerMapValidationError(
                    f"pre_tokenizer_pattern: reads more than {READ_A_CHARACTER} times the {len(text)} "
                    f"characters of a text; each {ATTEMPTS_A_READ} attempts at once count as one more time"
                )
            step = self._step(places, symbol(text[place]) if place < len(text) else END)
            if step.matched is not None:
                found = begun[step.matched], place
            # Those left are of higher priority than the match: one of them may still match in its place.
            places = step.places
            begun = [begun[parent] for parent in step.parents]
            if found is not None and not places:
                return found, left
        return found, left

    def _step(self, places: tuple[int, ...], symbol: int) -> Step:
        step = self._steps.get((places, symbol))
        if step is None:
            step = self._compute(places, symbol)
            size = len(places) + len(step.places) + 1
            if size <= self._room:
                self._room -= size
                self._steps[places, symbol] = step
        return step

    def _compute(self, places: tuple[int, ...], symbol: int) -> Step:
        going: dict[int, int] = {}
        seen: set[int] = set()  # of attempts at the same place, the first one counts
        for number, begin in enumerate(places):
            waiting = [begin]
            while waiting:
                place = waiting.pop()
                if place in seen:
                    continue
                seen.add(place)
                kind, first, second = self._code.code[place]
                fits = symbol != END and bool(symbol >> first & 1)
                if kind == MATCH:
                    return Step(tuple(going), tuple(going.values()), number)
                if kind == SPLIT:
                    waiting += (second, first)  # the last one waiting is taken first: the preferred branch
                elif kind == JUMP:
                    waiting.append(first)
                elif kind == LOOK and fits != bool(second):
                    waiting.append(place + 1)
                elif kind == CHARACTER and fits:
                    going.setdefault(place + 1, number)
        return Step(tuple(going), tuple(going.values()), None)
