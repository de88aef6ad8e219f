"""How far a pattern looks: whether matching it at a place of a text is decided before the text ends.

The pattern becomes an automaton that reads at least what any engine reads while it looks for a match: every
alternative, repetitions as long as they can be, and what look-aheads look at. Priorities, laziness and atomic
groups only make an engine read less. When no state is left before the end of the text, nothing that is
appended can change what is matched there.

Only a plain part of the syntax is read. A pattern with anything else, such as what looks behind itself, is
refused; then nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import regex

MAX_STATES = 4096
MAX_KEPT = 16_384
"""Characters, and moves between sets of states, that are remembered. A text uses few of either."""

_CLASS_ESCAPES = "sSdDwW"
_CHARACTER_ESCAPES = {"n": 1, "r": 1, "t": 1, "f": 1, "v": 1, "a": 1, "x": 3, "u": 5}
"""How many characters follow the backslash."""
_GROUPS = ("(?:", "(?>", "(?i:", "(?=", "(?!")

States = frozenset[int]


class UnreadPatternError(ValueError):
    """The pattern holds syntax that is not read here."""


class _Part(NamedTuple):
    """A piece of the automaton, entered at one state and left at another."""

    entry: int
    exit: int


class PatternReach:
    """The automaton of a pattern.

    Raises:
        UnreadPatternError: the pattern has other syntax, or matches the empty text.
    """

    def __init__(self, pattern: str, compile_part: Callable[[str], regex.Pattern[str]]) -> None:
        self._free: list[list[int]] = []
        self._reads: dict[int, tuple[int, int]] = {}
        self._tests: dict[str, int] = {}
        self._masks: dict[str, int] = {}
        self._moves: dict[tuple[States, int], States] = {}
        self._pattern, self._place, self._folds = pattern, 0, False
        whole = self._alternatives()
        if self._place < len(pattern):
            raise UnreadPatternError(f"an unmatched ) at character {self._place}")
        reached = self._closure({whole.entry})
        if whole.exit in reached:
            raise UnreadPatternError("the pattern matches the empty text")
        self._start = self._reading(reached)
        self._matchers = [compile_part(spelled).fullmatch for spelled in self._tests]

    def read(self, text: str, start: int, limit: int) -> int | None:
        """Return how many characters decide what is matched at a place.

        None where the end of the text does, or more characters than the limit.
        """
        states = self._start
        for place in range(start, min(len(text), start + limit)):
            states = self._move(states, self._mask(text[place]))
            if not states:
                return place + 1 - start
        return None

    # Reading the automaton

    def _mask(self, character: str) -> int:
        mask = self._masks.get(character)
        if mask is None:
            mask = sum(1 << number for number, fits in enumerate(self._matchers) if fits(character))
            if len(self._masks) < MAX_KEPT:
                self._masks[character] = mask
        return mask

    def _move(self, states: States, mask: int) -> States:
        following = self._moves.get((states, mask))
        if following is None:
            reads = map(self._reads.__getitem__, states)
            following = self._reading(self._closure({to for test, to in reads if mask >> test & 1}))
            if len(self._moves) < MAX_KEPT:
                self._moves[states, mask] = following
        return following

    def _closure(self, states: set[int]) -> set[int]:
        waiting = list(states)
        while waiting:
            for state in self._free[waiting.pop()]:
                if state not in states:
                    states.add(state)
                    waiting.append(state)
        return states

    def _reading(self, states: set[int]) -> States:
        return frozenset(states & self._reads.keys())

    # Building it

    def _state(self) -> int:
        if len(self._free) >= MAX_STATES:
            raise UnreadPatternError("the pattern is too large")
        self._free.append([])
        return len(self._free) - 1

    def _link(self, state: int, to: int) -> None:
        self._free[state].append(to)

    def _alternatives(self) -> _Part:
        whole = _Part(self._state(), self._state())
        while True:
            part = self._sequence()
            self._link(whole.entry, part.entry)
            self._link(part.exit, whole.exit)
            if not self._takes("|"):
                return whole

    def _sequence(self) -> _Part:
        entry = end = self._state()
        while self._place < len(self._pattern) and self._pattern[self._place] not in "|)":
            part = self._repeated()
            self._link(end, part.entry)
            end = part.exit
        return _Part(entry, end)

    def _repeated(self) -> _Part:
        start = self._place
        part = self._atom()
        least, most = self._quantifier()
        whole = _Part(self._state(), self._state())
        after, end = self._place, whole.entry
        for count in range(most or max(least, 1)):
            if count:
                self._place = start
                part = self._atom()
            if count >= least:
                self._link(end, whole.exit)
            self._link(end, part.entry)
            end = part.exit
        self._place = after
        self._link(end, whole.exit)
        if most is None:
            self._link(part.exit, part.entry)
            if least == 0:
                self._link(whole.entry, whole.exit)
        return whole

    def _quantifier(self) -> tuple[int, int | None]:
        """Return how often the atom may stand; None for any number."""
        match = _QUANTIFIER.match(self._pattern, self._place)
        if match is None:
            if self._pattern[self._place : self._place + 1] in ("{", "*", "+", "?"):
                raise UnreadPatternError(f"no quantifier at character {self._place}")
            return 1, 1
        self._place = match.end()
        if match["sign"]:
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[match["sign"]]
        least = int(match["least"] or 0)
        most = int(match["most"]) if match["most"] else None
        if match["exact"] is not None:
            least = most = int(match["exact"])
        if most == 0 or (most is not None and most < least) or max(least, most or 0) > MAX_STATES:
            raise UnreadPatternError("a repetition out of bounds")
        return least, most

    def _atom(self) -> _Part:
        pattern, place = self._pattern, self._place
        if pattern[place] == "(":
            return self._group()
        if pattern[place] == "[":
            return self._character(_class_end(pattern, place))
        if pattern[place] == "\\":
            return self._character(_escape_end(pattern, place))
        if pattern[place] in "^$*+?{})":
            raise UnreadPatternError(f"{pattern[place]} at character {place}")
        return self._character(place + 1)

    def _group(self) -> _Part:
        opening = next((g for g in _GROUPS if self._pattern.startswith(g, self._place)), "(")
        if opening == "(" and self._pattern[self._place + 1 : self._place + 2] in ("?", "*"):
            raise UnreadPatternError(f"a group of another kind at character {self._place}")
        folds, self._folds = self._folds, self._folds or opening == "(?i:"
        self._place += len(opening)
        inner = self._alternatives()
        self._folds = folds
        if not self._takes(")"):
            raise UnreadPatternError("a group that does not end")
        if opening not in ("(?=", "(?!"):
            return inner
        aside = _Part(self._state(), self._state())
        self._link(aside.entry, inner.entry)  # what is read aside leads nowhere
        self._link(aside.entry, aside.exit)
        return aside

    def _character(self, stop: int) -> _Part:
        spelled = self._pattern[self._place : stop]
        self._place = stop
        test = self._tests.setdefault(f"(?i:{spelled})" if self._folds else spelled, len(self._tests))
        part = _Part(self._state(), self._state())
        self._reads[part.entry] = (test, part.exit)
        return part

    def _takes(self, character: str) -> bool:
        found = self._pattern.startswith(character, self._place)
        self._place += found
        return found


_QUANTIFIER = regex.compile(
    r"(?:(?P<sign>[*+?])|\{(?P<exact>\d{1,6})\}|\{(?P<least>\d{0,6}),(?P<most>\d{0,6})\})[?+]?"
)


def _class_end(pattern: str, start: int) -> int:
    """Return where a character class ends; classes may stand in it."""
    place = start + 1 + pattern.startswith("^", start + 1)
    place += pattern.startswith("]", place)
    while place < len(pattern) and pattern[place] != "]":
        if pattern[place] == "\\":
            place = _escape_end(pattern, place)
        elif pattern[place] == "[":
            if pattern.startswith("[:", place):
                raise UnreadPatternError(f"a POSIX class at character {place}")
            place = _class_end(pattern, place)
        else:
            place += 1
    if place >= len(pattern):
        raise UnreadPatternError("a class that does not end")
    return place + 1


def _escape_end(pattern: str, start: int) -> int:
    """Return where an escape ends that stands for one character."""
    letter = pattern[start + 1 : start + 2]
    if letter in ("p", "P") and pattern.startswith("{", start + 2):
        stop = pattern.find("}", start) + 1
    elif letter in ("p", "P"):
        stop = start + 3
    elif letter and (letter in _CLASS_ESCAPES or not letter.isalnum()):
        stop = start + 2
    elif letter in _CHARACTER_ESCAPES:
        stop = start + 1 + _CHARACTER_ESCAPES[letter]
    else:
        stop = 0
    if not start < stop <= len(pattern):
        raise UnreadPatternError(f"an escape at character {start}")
    return stop
