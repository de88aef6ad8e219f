"""Character classes of one fixed Unicode version, as `re` character sets over the Basic Multilingual Plane.

`re` looks a character up in a set of the BMP in constant time, but walks sets that reach beyond it range by
range. So the classes here stop at U+FFFF, and `shadow` replaces each astral character by a BMP character of
the same general category. A text and its shadow are cut at the same places, unless an operation names a
character beyond ASCII, which may be a stand-in: for these there is a `Shadow` of their own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache

WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode White_Space: U+0085 is in it, U+001C to U+001F and U+FEFF are not."""

CJK_RANGES = ((0x3040, 0x30FF), (0x4E00, 0x9FA5))
CJK = "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in CJK_RANGES)
"""Hiragana, Katakana and the ideographs, as the tokenizers that isolate them define the set."""

_STAND_INS = {
    "Lu": "À", "Ll": "à", "Lt": "ǅ", "Lm": "ʰ", "Lo": "א", "Mn": "\u0300", "Mc": "\u0903", "Me": "\u0488",
    "Nd": "٠", "Nl": "ⅰ", "No": "²", "Pc": "‿", "Pd": "‐", "Ps": "⁅", "Pe": "⁆", "Pi": "«", "Pf": "»",
    "Po": "¡", "Sm": "±", "Sc": "£", "Sk": "¨", "So": "©", "Cf": "\u00ad", "Co": "\ue000", "Cn": "\uffff",
}  # fmt: skip
"""One BMP character a category, outside ASCII, white space and CJK. The categories missing here are not
astral."""

_MAX_STAND_INS = 8192

_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


@cache
def category_ranges() -> dict[str, list[tuple[int, int]]]:
    """Return the code point ranges, both ends included, of each general category."""
    from codec_core.unicode._generated_categories import CATEGORY_RUNS

    ranges: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for run in CATEGORY_RUNS.split():
        stop = start + int(run[2:])
        ranges.setdefault(run[:2], []).append((start, stop - 1))
        start = stop
    return ranges


def char_class(name: str) -> str:
    r"""Return the inside of a character set for `\p{name}` within the BMP, or for `\s` with name "s"."""
    return _char_class(name, 0xFFFF)


def whole_char_class(name: str) -> str:
    """Return the same over all planes, for engines to which they are all one."""
    return _char_class(name, 0x10FFFF)


@cache
def _char_class(name: str, last: int) -> str:
    if name == "s":
        return _escape_ranges([(ord(character), ord(character)) for character in WHITE_SPACE])
    found = [
        (start, min(stop, last))
        for category, ranges in category_ranges().items()
        if category.startswith(name)
        for start, stop in ranges
        if start <= last
    ]
    return _escape_ranges(_joined(found))


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and joined[-1][1] == start - 1:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _escape_ranges(ranges: list[tuple[int, int]]) -> str:
    return "".join(
        _spell(start) if start == stop else f"{_spell(start)}-{_spell(stop)}" for start, stop in ranges
    )


def _spell(point: int) -> str:
    """Spell a character of a set: those outside ASCII as they are, because engines keep many copies."""
    return f"\\x{point:02x}" if point < 0x80 else chr(point)


def samples() -> str:
    """Return a character of each category that has any beyond ASCII and white space."""
    return "\x80" + "".join(_STAND_INS.values())  # the control characters from U+0080 on are not astral


class Shadow:
    """Replaces every astral character of a text by one of the BMP that the same sets hold."""

    def __init__(self, borders: Mapping[int, int] | None = None) -> None:
        """Take the places at which characters begin to belong to other sets, and the sets, as bits.

        Without, a stand-in is of the same general category, which is enough for operations.

        Raises:
            KeyError: no BMP character belongs to just the sets that an astral one does.
        """
        self._stand_ins: dict[str, str] = {}
        # Those of the categories are computed with the first astral character: most programs meet none.
        self._runs = None if borders is None else _runs_of_sets(borders)

    def __call__(self, text: str) -> str:
        """Return the text with stand-ins."""
        return _ASTRAL.sub(self._stand_in, text)

    def _stand_in(self, match: re.Match[str]) -> str:
        character = match.group()
        known = self._stand_ins.get(character)
        if known is None:
            places, by_run = self._runs or _runs_of_categories()
            known = by_run[bisect_right(places, ord(character)) - 1]
            if len(self._stand_ins) < _MAX_STAND_INS:  # a text uses few different ones
                self._stand_ins[character] = known
        return known


@cache
def _runs_of_categories() -> tuple[list[int], list[str]]:
    runs = sorted((start, name) for name, ranges in category_ranges().items() for start, _ in ranges)
    return [start for start, _ in runs], [_STAND_INS.get(name, "") for _, name in runs]


def _runs_of_sets(borders: Mapping[int, int]) -> tuple[list[int], list[str]]:
    found: dict[int, str] = {}
    places, stand_ins = [], []
    for place, members in borders.items():
        if place <= 0xFFFF:
            found.setdefault(members, chr(place))
        places.append(place)
        stand_ins.append(found[members] if place > 0xFFFF else "")
    # No border beyond the BMP: its last run holds all astral characters, and its first one stands for them.
    if places[-1] <= 0xFFFF:
        return places, [*stand_ins[:-1], chr(places[-1])]
    before = max(place for place in places if place <= 0xFFFF)
    stand_ins[places.index(before)] = found[borders[before]]  # a run may reach over the border
    return places, stand_ins


shadow = Shadow()
"""For texts that operations cut."""
