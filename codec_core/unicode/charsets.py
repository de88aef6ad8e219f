"""Sets of characters, of one fixed Unicode version: what a character class of a pattern stands for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cache, cached_property
from itertools import accumulate

from codec_core.unicode.classes import WHITE_SPACE, category_ranges

LAST = 0x10FFFF
LAST_OF_BMP = 0xFFFF

Ranges = tuple[tuple[int, int], ...]


class CharSet:
    """An immutable set of characters.

    Attributes:
        ranges: code points, both ends included, in order and apart from each other.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.ranges: Ranges = _joined(ranges)

    @classmethod
    def of(cls, characters: Iterable[str]) -> CharSet:
        """Return the set of these characters."""
        return cls((ord(character), ord(character)) for character in characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"CharSet({self.spell()!r})"

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __or__(self, other: CharSet) -> CharSet:
        return CharSet(self.ranges + other.ranges)

    def __invert__(self) -> CharSet:
        gaps = []
        start = 0
        for first, last in self.ranges:
            if first > start:
                gaps.append((start, first - 1))
            start = last + 1
        if start <= LAST:
            gaps.append((start, LAST))
        return CharSet(gaps)

    def __and__(self, other: CharSet) -> CharSet:
        common = []  # in one pass, since the ranges of both are in order
        mine, theirs = self.ranges, other.ranges
        at = to = 0
        while at < len(mine) and to < len(theirs):
            start = max(mine[at][0], theirs[to][0])
            stop = min(mine[at][1], theirs[to][1])
            if start <= stop:
                common.append((start, stop))
            if mine[at][1] < theirs[to][1]:
                at += 1
            else:
                to += 1
        return CharSet(common)

    def __sub__(self, other: CharSet) -> CharSet:
        return self & ~other

    def __contains__(self, character: str) -> bool:
        at = bisect_right(self._starts, ord(character)) - 1
        return at >= 0 and ord(character) <= self.ranges[at][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    @cached_property
    def _starts(self) -> list[int]:
        return [first for first, _ in self.ranges]

    def characters(self) -> str:
        """Return the characters in order."""
        return "".join(chr(point) for first, last in self.ranges for point in range(first, last + 1))

    def spell(self, last: int = LAST) -> str:
        """Return the set as a character class of a regular expression, up to a last code point."""
        inside = self & CharSet([(0, last)]) if last < LAST else self
        outside = ~inside
        if len(outside.ranges) < len(inside.ranges):
            return f"[^{_spell(outside.ranges)}]" if outside else r"[\s\S]"
        return f"[{_spell(inside.ranges)}]" if inside else r"[^\s\S]"


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def _spell(ranges: Ranges) -> str:
    return "".join(
        _point(start) if start == stop else f"{_point(start)}-{_point(stop)}" for start, stop in ranges
    )


def _point(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x80 else chr(point)


ANYTHING = CharSet([(0, LAST)])
NOTHING = CharSet(())
SPACE = CharSet.of(WHITE_SPACE)
ASCII = CharSet([(0, 0x7F)])


@cache
def category(name: str) -> CharSet:
    """Return a general category, or all that begin with a letter: `Lu`, `L`."""
    return CharSet(
        pair for known, ranges in category_ranges().items() if known.startswith(name) for pair in ranges
    )


@cache
def named_set(name: str) -> CharSet:
    r"""Return a script, or with "word" what `\w` takes.

    Raises:
        KeyError: it is not one of those that are kept.
    """
    from codec_core.unicode._generated_sets import SETS

    borders = [0, *accumulate(map(int, SETS[name].split()))]
    return CharSet((start, stop - 1) for start, stop in zip(borders[1::2], borders[2::2], strict=False))


_LONG_NAMES = {
    "letter": "L", "uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt",
    "modifierletter": "Lm", "otherletter": "Lo", "mark": "M", "nonspacingmark": "Mn", "spacingmark": "Mc",
    "enclosingmark": "Me", "number": "N", "decimalnumber": "Nd", "letternumber": "Nl", "othernumber": "No",
    "punctuation": "P", "symbol": "S", "separator": "Z", "spaceseparator": "Zs", "other": "C",
    "control": "Cc", "format": "Cf", "unassigned": "Cn",
}  # fmt: skip
_MAJOR = frozenset("LMNPSZC")


def property_set(name: str) -> CharSet | None:
    r"""Return what `\p{name}` takes, or None for a property that is not kept."""
    # The spellings of properties that engines share: `Script=Han`, `sc=Han`, `IsHan`, `Uppercase_Letter`.
    bare = name.removeprefix("Script=").removeprefix("sc=").removeprefix("Is")
    plain = bare.replace("_", "").replace(" ", "").lower()
    short = _LONG_NAMES.get(plain, bare)
    if short in _MAJOR or short in category_ranges():
        return category(short)
    if plain == "any":
        return ANYTHING
    if plain in ("whitespace", "space"):
        return SPACE
    try:
        return named_set(bare.capitalize())
    except KeyError:
        return None


def borders_of(sets: Iterable[CharSet]) -> dict[int, int]:
    """Return where characters begin to belong to other sets: place to the sets from there on, as bits."""
    changes: dict[int, int] = {0: 0}
    for number, chars in enumerate(sets):  # the bit of a set changes where a range begins and behind its end
        for first, last in chars.ranges:
            changes[first] = changes.get(first, 0) ^ 1 << number
            changes[last + 1] = changes.get(last + 1, 0) ^ 1 << number
    changes.pop(LAST + 1, None)
    borders, members = {}, 0
    for place in sorted(changes):
        members ^= changes[place]
        borders[place] = members
    return borders
