"""Read what stands for one character in a pattern: escapes, properties and sets."""

from __future__ import annotations

import re
from functools import cache

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.unicode.charsets import LAST, NOTHING, SPACE, CharSet, category, named_set, property_set

MAX_SET_DEPTH = 8
"""Sets in sets; known patterns have two."""

_CLASSES = {"s": lambda: SPACE, "d": lambda: category("Nd"), "w": lambda: named_set("word")}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b"}
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|[xu]\{([0-9A-Fa-f]{1,6})\}")
_PROPERTY = re.compile(r"[pP](?:\{(\^?)([A-Za-z_= ]{1,40})\}|([A-Z]))")
_POSIX = re.compile(r"\[:(\^?)([a-z]+):\]")
_OPERATORS = ("--", "~~", "||")


class SetReader:
    """Reads one escape or set.

    Attributes:
        place: where the next thing begins.
    """

    def __init__(self, pattern: str, place: int) -> None:
        self._pattern = pattern
        self.place = place

    def read(self) -> CharSet:
        """Return the characters that the escape or set at this place stands for.

        Raises:
            TokenizerMapValidationError: it is malformed, or of a kind that is not read.
        """
        return self._set(1) if self._pattern[self.place] == "[" else self._escape()

    def _fault(self, what: str, place: int | None = None) -> TokenizerMapValidationError:
        at = self.place if place is None else place
        return TokenizerMapValidationError(f"pre_tokenizer_pattern: {what}, at character {at}")

    def _escape(self) -> CharSet:
        start = self.place
        letter = self._pattern[start + 1 : start + 2]
        self.place = start + 2
        if not letter:
            raise self._fault("a backslash at the end", start)
        if letter.lower() in _CLASSES:
            chars = _CLASSES[letter.lower()]()
            return ~chars if letter.isupper() else chars
        if letter in _CONTROLS:
            return CharSet.of(_CONTROLS[letter])
        if letter in "pP":
            return self._property(start)
        if letter in "xuU":
            return self._code_point(start)
        # Engines give letters and digits a meaning, and take a backslash before anything else for nothing.
        if letter.isascii() and letter.isalnum():
            raise self._fault(f"\\{letter} is not read", start)
        return CharSet.of(letter)

    def _code_point(self, start: int) -> CharSet:
        match = _HEX.match(self._pattern, start + 1)
        point = int(next(filter(None, match.groups())), 16) if match else LAST + 1
        if match is None or point > LAST:
            raise self._fault("no code point", start)
        self.place = match.end()
        return CharSet([(point, point)])

    def _property(self, start: int) -> CharSet:
        match = _PROPERTY.match(self._pattern, start + 1)
        chars = property_set(match[2] or match[3]) if match else None
        if match is None or chars is None:
            raise self._fault("a property that is not known", start)
        self.place = match.end()
        return ~chars if (self._pattern[start + 1] == "P") != (match[1] == "^") else chars

    def _set(self, depth: int) -> CharSet:
        start = self.place
        if depth > MAX_SET_DEPTH:
            raise self._fault(f"sets are nested deeper than {MAX_SET_DEPTH}")
        self.place += 1
        negative = self._takes("^")
        united: list[tuple[int, int]] = []
        meets: list[CharSet] = []
        first = True  # a `]` in first place is a member of the set
        while not self._pattern.startswith("]", self.place) or first:
            if self.place >= len(self._pattern):
                raise self._fault("a set that does not end", start)
            if self._takes("&&"):
                meets.append(CharSet(united))  # it binds less than the members in a row on both its sides
                united = []
            else:
                united += self._member(depth).ranges
            first = False
        self.place += 1
        chars = CharSet(united)
        for other in meets:
            chars &= other
        return ~chars if negative else chars

    def _member(self, depth: int) -> CharSet:
        pattern, start = self._pattern, self.place
        if pattern.startswith(_OPERATORS, start):
            raise self._fault(f"{pattern[start : start + 2]} in a set is read differently by every engine")
        if pattern.startswith("[", start):
            return self._nested(depth)
        chars = self._single()
        single = len(chars.ranges) == 1 and chars.ranges[0][0] == chars.ranges[0][1]
        # A hyphen in last place stands for itself.
        if not (
            pattern.startswith("-", self.place) and pattern[self.place + 1 : self.place + 2] not in ("]", "")
        ):
            return chars
        if pattern.startswith("--", self.place):
            raise self._fault("-- in a set is read differently by every engine")
        if not single:
            raise self._fault("a range that does not begin with a character", start)
        self.place += 1
        # A set cannot end a range; as the empty set it is refused with what is no character either.
        last = NOTHING if pattern.startswith("[", self.place) else self._single()
        if len(last.ranges) != 1 or last.ranges[0][0] != last.ranges[0][1] or last.ranges < chars.ranges:
            raise self._fault("a range that does not end with a later character", start)
        return CharSet([(chars.ranges[0][0], last.ranges[0][1])])

    def _single(self) -> CharSet:
        if self._pattern.startswith("\\", self.place):
            return self._escape()
        self.place += 1
        return CharSet.of(self._pattern[self.place - 1])

    def _nested(self, depth: int) -> CharSet:
        if not self._pattern.startswith("[:", self.place):
            return self._set(depth + 1)
        match = _POSIX.match(self._pattern, self.place)
        # These two are `\s` and `\p{Nd}` in Oniguruma, whose patterns hold such names. All others are more
        # there than any category: `[:punct:]` has symbols, `[:alpha:]` marks.
        found = {"space": SPACE, "digit": category("Nd")}.get(match[2]) if match else None
        if match is None or found is None:
            raise self._fault("a named set that is not read; write \\p{L} or the like")
        self.place = match.end()
        return ~found if match[1] else found

    def _takes(self, text: str) -> bool:
        found = self._pattern.startswith(text, self.place)
        self.place += len(text) * found
        return found


_FOLDS = {"s": "sSſ", "k": "kK\u212a"}
"""ASCII letters that have a third case form, which engines take for them under `(?i:..)`."""


def fold(letter: str) -> str:
    """Return the case forms of an ASCII letter."""
    return _FOLDS.get(letter.lower(), letter.lower() + letter.upper())


def folded(chars: CharSet, place: int) -> CharSet:
    """Return the set with every case form of its letters.

    Raises:
        TokenizerMapValidationError: it holds some case forms of letters outside ASCII and not others.
    """
    if chars.ranges and chars.ranges[-1][1] < 0x80:
        letters = "".join(fold(c) for c in chars.characters() if c.isalpha())
        return chars | CharSet.of(letters)
    forms, cased = _case_forms()
    # A form that is there and one that is not: found from either, so from the smaller side.
    smaller = chars if len(chars) < len(cased) else min(chars & cased, cased - chars, key=len)
    for one in smaller.characters():
        for other in forms.get(one, ""):
            if (one in chars) != (other in chars):
                found, lacking = (one, other) if one in chars else (other, one)
                raise TokenizerMapValidationError(
                    f"pre_tokenizer_pattern: {found!r} without {lacking!r} in a set under (?i), "
                    f"at character {place}"
                )
    return chars


@cache
def _case_forms() -> tuple[dict[str, str], CharSet]:
    """Return the other case forms of each character that has any, and the set of these characters."""
    forms: dict[str, str] = {}
    for one in map(chr, range(0x1F000)):  # no letter with two cases lies beyond
        for other in {one.lower(), one.upper()} - {one}:
            if len(other) == 1:
                forms[one] = forms.get(one, "") + other
                forms[other] = forms.get(other, "") + one
    return forms, CharSet.of(forms)
