"""A pattern as a list of instructions over symbols: what its proof and its search run on."""

from __future__ import annotations

from typing import Final

from codec_core.pretokenizer.pattern_tree import (
    Alternatives,
    Atomic,
    Chars,
    Look,
    Node,
    Repeat,
    Sequence,
    may_be_empty,
)
from codec_core.unicode.charsets import CharSet, borders_of

CHARACTER, SPLIT, JUMP, LOOK, MATCH = range(5)

END: Final = -1
"""Stands for the end of the text, where other symbols are the sets that a character belongs to, as bits."""

MAX_KEPT = 16_384
"""Characters whose symbol is kept. A text uses few."""


class UnreadPatternError(ValueError):
    """A pattern that cannot be followed character by character."""


class PatternCode:
    """The instructions of a pattern.

    Attributes:
        code: kind, and for a character its set, for a choice both places in the order of their priority, for
            a look-ahead its set and whether the next character must not be in it.
    """

    def __init__(self, tree: Node) -> None:
        """Compile a tree.

        Raises:
            UnreadPatternError: it commits itself where it could go back with success, looks ahead at more
                than one character, or matches the empty text.
        """
        self.code: list[tuple[int, int, int]] = []
        self._sets: dict[CharSet, int] = {}
        self._symbols: dict[str, int] = {}
        self._compile(tree)
        self._add(MATCH)
        # Such a match cuts nothing, and a search that goes on behind it would find it again without end.
        # It depends on no sets but those of look-aheads: few, where the symbols may be thousands.
        looked_at = sum({1 << first for kind, first, _ in self.code if kind == LOOK})
        symbols = {symbol & looked_at for symbol in self.alphabet()}
        if any(self._matches_nothing(symbol) for symbol in (*symbols, END)):
            raise UnreadPatternError("the pattern matches the empty text")

    def symbol(self, character: str) -> int:
        """Return the sets that a character belongs to."""
        symbol = self._symbols.get(character)
        if symbol is None:
            symbol = sum(1 << number for chars, number in self._sets.items() if character in chars)
            if len(self._symbols) < MAX_KEPT:
                self._symbols[character] = symbol
        return symbol

    def alphabet(self) -> list[int]:
        """Return the symbols of all characters that there are."""
        return sorted(set(borders_of(self._sets).values()))

    def is_match(self, place: int) -> bool:
        """Return whether there is a match at a place of the code, whatever follows."""
        while self.code[place][0] in (JUMP, SPLIT):
            place = self.code[place][1]
        return self.code[place][0] == MATCH

    def _matches_nothing(self, symbol: int) -> bool:
        waiting, seen = [0], {0}
        while waiting:
            place = waiting.pop()
            kind, first, second = self.code[place]
            # A look-ahead that holds, and no other kind, goes on at the next place.
            following = {SPLIT: (first, second), JUMP: (first,), CHARACTER: ()}.get(kind, (place + 1,))
            if kind == MATCH:
                return True
            if kind == LOOK and (symbol != END and bool(symbol >> first & 1)) == bool(second):
                continue
            waiting += [after for after in following if after not in seen]
            seen.update(following)
        return False

    def _add(self, kind: int, first: int = 0, second: int = 0) -> int:
        self.code.append((kind, first, second))
        return len(self.code) - 1

    def _set(self, chars: CharSet) -> int:
        return self._sets.setdefault(chars, len(self._sets))

    def _compile(self, node: Node) -> None:
        match node:
            case Chars(chars):
                self._add(CHARACTER, self._set(chars))
            case Sequence(parts):
                for part in parts:
                    self._compile(part)
            case Alternatives(options):
                self._compile_options(options)
            case Repeat(body, least, most, kind):
                if kind == "possessive":
                    raise UnreadPatternError("a possessive repetition that could be gone back on")
                self._compile_repeat(body, least, most, lazy=kind == "lazy")
            case Look(Chars(chars), negative):
                self._add(LOOK, self._set(chars), int(negative))
            case Look():
                raise UnreadPatternError("a look-ahead at more than one character")
            case Atomic():
                raise UnreadPatternError("an atomic group that could be gone back on")

    def _compile_options(self, options: tuple[Node, ...]) -> None:
        exits = []
        for option in options[:-1]:
            split = self._add(SPLIT)
            self._compile(option)
            exits.append(self._add(JUMP))
            self.code[split] = (SPLIT, split + 1, len(self.code))
        self._compile(options[-1])
        for place in exits:
            self.code[place] = (JUMP, len(self.code), 0)

    def _compile_repeat(self, body: Node, least: int, most: int | None, *, lazy: bool) -> None:
        # Following it would go in circles without reading a character.
        if most is None and may_be_empty(body):
            raise UnreadPatternError("an unbounded repetition of what may be empty")
        for _ in range(least):
            self._compile(body)
        splits = []
        for _ in range(1 if most is None else most - least):
            splits.append(self._add(SPLIT))
            self._compile(body)
        if most is None:
            self._add(JUMP, splits[0])
        after = len(self.code)
        for place in splits:
            self.code[place] = (SPLIT, after, place + 1) if lazy else (SPLIT, place + 1, after)
