"""How much of a text a pattern reads, and the proof that it is little.

The engine that runs patterns goes back when an alternative fails, which can take the square of a text's
length, or two to its power. Here the pattern becomes an automaton whose state is the list of all attempts
that the engine may have under way, in the order of their priority, equal ones counted one by one. Once an
attempt ends in a match, those of lower priority are dropped, as the engine never comes to them.

A pattern is proven where these lists are of bounded length, and where what a search reads in vain, behind the
end of its match, is taken by the search that starts there. So pairs of lists are followed: those of a search,
and those of the next one, from where the first has its last match so far. No circle through these pairs may
go without a match on either side. Then every character is read by two searches and a bounded number of
others, a bounded number of times each, and the whole takes time linear in the text.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codec_core.pretokenizer.pattern_code import CHARACTER, END, JUMP, LOOK, MATCH, SPLIT, PatternCode

MAX_ATTEMPTS = 256
"""Attempts under way at one place; the patterns of known tokenizers have up to 9."""

MAX_WORK = 400_000
"""Steps of the proof; the patterns of known tokenizers take up to 20,000."""

MAX_READ_AHEAD = 2048
"""Attempts times characters beyond a match; each character of a text may cost as many steps of the engine.
The patterns of known tokenizers have up to 13."""

Attempts = tuple[int, ...]
Pair = tuple[Attempts, Attempts]

START: Final[Attempts] = (0,)


class UnprovenPatternError(ValueError):
    """It is not proven that the pattern takes time linear in the text."""


class Step(NamedTuple):
    """The state after one more character.

    Attributes:
        attempts: those that go on behind it.
        matched: whether there is a match that ends before it.
    """

    attempts: Attempts
    matched: bool


class PatternProof:
    """The proof that a pattern takes linear time, and what it shows.

    Attributes:
        reads_ahead: the most characters that are read behind the end of a match and are not taken, but for
            such a number at their end, by the next.
        is_total: whether every character of every text belongs to a match.
    """

    def __init__(self, code: PatternCode) -> None:
        """Prove a pattern.

        Raises:
            UnprovenPatternError: it takes more than linear time, or its proof is too much work.
        """
        self._code = code
        self._steps: dict[Attempts, dict[int, Step]] = {}
        self._work = 0
        self.reads_ahead = self._longest_read(self._explore(code.alphabet()))
        self.is_total = not self._may_fail()

    def ends_open(self, text: str, start: int) -> bool:
        """Return whether what is matched at a place depends on what follows the text."""
        attempts = START
        for character in text[start:]:
            attempts = self._step(attempts, self._code.symbol(character)).attempts
            if not attempts or self._code.is_match(attempts[0]):
                return False
        return True

    def _step(self, attempts: Attempts, symbol: int) -> Step:
        known = self._steps.setdefault(attempts, {})
        step = known.get(symbol)
        if step is None:
            step = known[symbol] = self._compute(attempts, symbol)
        return step

    def _compute(self, attempts: Attempts, symbol: int) -> Step:
        # Equal attempts stay apart, as they do for the engine. The last one waiting is of highest priority.
        going: list[int] = []
        waiting = list(reversed(attempts))
        while waiting:
            self._work += 1
            place = waiting.pop()
            kind, first, second = self._code.code[place]
            if kind == SPLIT:
                waiting += (second, first)
            elif kind == JUMP:
                waiting.append(first)
            elif kind == MATCH:
                return self._bounded(going, matched=True)
            else:
                fits = symbol != END and bool(symbol >> first & 1)
                if kind == LOOK and fits != bool(second):
                    waiting.append(place + 1)
                elif kind == CHARACTER and fits:
                    going.append(place + 1)
        return self._bounded(going, matched=False)

    def _bounded(self, going: list[int], *, matched: bool) -> Step:
        if self._work > MAX_WORK:
            raise UnprovenPatternError("the pattern is too large to be proven")
        if len(going) > MAX_ATTEMPTS:
            raise UnprovenPatternError("the pattern can match the same text in ever more ways")
        return Step(tuple(going), matched)

    def _explore(self, alphabet: list[int]) -> dict[Pair, list[Pair]]:
        """Return the pairs that each pair leads to by a character before which neither side matches."""
        unmatched: dict[Pair, list[Pair]] = {}
        waiting: list[Pair] = [(START, ())]
        while waiting:
            pair = waiting.pop()
            if pair in unmatched:
                continue
            found: dict[Pair, None] = {}
            for symbol in alphabet:
                after, matched = self._follow(pair, symbol)
                if after[0] and after not in unmatched:
                    waiting.append(after)
                if not matched:
                    found[after] = None
            self._step(pair[0], END)  # for `_may_fail`, which reads the steps that are known
            unmatched[pair] = list(found)
        return unmatched

    def _follow(self, pair: Pair, symbol: int) -> tuple[Pair, bool]:
        search, following = pair
        step = self._step(search, symbol)
        # The next search begins where this one last matched: at the earliest, behind its first character.
        # No later state is equal to START, since every attempt has by then passed the place 0.
        if search is START:
            return (step.attempts, START), False
        if step.matched:
            return (step.attempts, self._step(START, symbol).attempts), True
        next_step = self._step(following, symbol)
        return (step.attempts, next_step.attempts), next_step.matched

    def _longest_read(self, unmatched: dict[Pair, list[Pair]]) -> int:
        """Return the most characters that are read beyond a match.

        Depth first without recursion: paths are as long as the longest bounded repetition.

        Raises:
            UnprovenPatternError: there is no bound, or it is too high.
        """
        known: dict[Pair, tuple[int, int]] = {}  # of the longest way on: its characters, its attempts
        for start in unmatched:
            path, open_ones = [start], {start}
            while path:
                here = path[-1]
                missing = None
                if here not in known:
                    going = [after for after in unmatched[here] if after[0]]  # without attempts it has ended
                    missing = next((after for after in going if after not in known), None)
                if missing is not None:
                    if missing in open_ones:  # a circle without a match on either side
                        raise UnprovenPatternError("the pattern may read any distance in vain")
                    path.append(missing)
                    open_ones.add(missing)
                    continue
                if here not in known:
                    known[here] = (  # the character at which all attempts end is read too
                        max((1 + known[after][0] for after in going), default=1),
                        max((known[after][1] for after in going), default=0) + len(here[0]) + len(here[1]),
                    )
                open_ones.discard(path.pop())
        if max(cost for _, cost in known.values()) > MAX_READ_AHEAD:
            raise UnprovenPatternError("the pattern reads far beyond what it matches")
        return max(length for length, _ in known.values())

    def _may_fail(self) -> bool:
        """Return whether a search may end without any match."""
        waiting, seen = [START], {START}
        while waiting:
            here = waiting.pop()
            for symbol, step in self._steps[here].items():
                # Behind a match nothing has to match; and where the text ends, no search begins.
                if step.matched or (symbol == END and here is START):
                    continue
                if not step.attempts:
                    return True
                if step.attempts not in seen:
                    seen.add(step.attempts)
                    waiting.append(step.attempts)
        return False
