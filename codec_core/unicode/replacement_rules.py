"""The replacement rules of a SentencePiece model, which its file holds as `precompiled_charsmap`.

The rules:

* At each place of a text the longest rule that matches there replaces what it matches; where none does, the
  character stays. A replacement is not looked at again.
* The table is a number of bytes (little-endian, 32 bits), a double-array trie of that size over the bytes of
  what is replaced, and the replacements, each ended by a zero byte. A unit of the trie holds the byte that
  leads to it (bits 0 to 7), whether a rule ends there (bit 8) and the distance to the units behind it (bits 9
  to 31); a unit with bit 31 holds the place of a replacement. This is the layout of the library Darts-clone.
* A table is checked as a whole before it is used: each rule is a sequence of whole characters, each
  replacement is valid UTF-8, no path leads out of the trie or in a circle.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from codec_core.added import AddedTokens

MAX_BYTES = 2**20
"""The most bytes of a table; those of all known models have at most 250,000. Reading takes sixty times as
many bytes, and half a second for a table of this size."""

MAX_RULE = 32
"""Bytes of what a rule replaces; SentencePiece looks at no more rules at one place than 32."""

MAX_REPLACEMENT = 256
"""Bytes of a replacement; the longest of NFKC has 33. Bounds how much longer than a text its normal form
is."""

MAX_STEPS = 2**17
"""Steps through the trie that find the characters which rules begin with, or have in second place. NFKC with
folded case takes 11,000; but paths may share their ends, so that a small trie has any number of them."""

_LEAF, _END = 1 << 8, 1 << 31


class RuleError(ValueError):
    """A table is damaged."""


class _Step(NamedTuple):
    """A unit of the trie.

    Attributes:
        byte: leads to it.
        base: the place that the units behind it count from.
        value: the place of its replacement, or -1 where no rule ends here.
    """

    byte: int
    base: int
    value: int


class _Name(NamedTuple):
    """A text that no rule changes, or the beginning of one at which the text is cut off."""

    start: int
    stop: int
    is_open: bool


class _Names:
    """Finds the texts that no rule changes in one text, from its beginning on."""

    __slots__ = ("_found", "_kept", "_may_open", "_text")

    def __init__(self, kept: AddedTokens, text: str, *, final: bool) -> None:
        self._kept = kept
        self._text = text
        self._found = kept.search(text)
        # What the end cuts off is shorter than the longest name.
        self._may_open = len(text) if final else max(0, len(text) - kept.longest + 1)

    def first(self, place: int, last: int) -> _Name | None:
        """Return the first name that begins between two places, both included; the longest of those there."""
        kept, text = self._kept, self._text
        if self._found is not None and self._found.start() < place:
            self._found = kept.search(text, place)
        start = len(text) if self._found is None else self._found.start()
        stop = min(start, last, len(text) - 1) + 1
        begun = kept.first_open(text, max(place, self._may_open), stop)
        if begun is not None:
            return _Name(begun, begun, is_open=True)
        return _Name(start, self._found.end(), is_open=False) if self._found and start <= last else None


class ReplacementRules:
    """The rules of one table. Safe to share between threads."""

    def __init__(self, table: bytes, *, max_steps: int = MAX_STEPS) -> None:
        """Read and check a table, in time in proportion to its size.

        Args:
            table: the table.
            max_steps: the most steps to the characters of its rules.

        Raises:
            RuleError: it is damaged or larger than any known one; the message says how.
        """
        if not 8 <= len(table) <= MAX_BYTES:
            raise RuleError(f"{len(table)} bytes; there must be 8 to {MAX_BYTES}")
        (size,) = struct.unpack_from("<I", table)
        if size % 4 or size < 4 or size + 4 >= len(table):
            raise RuleError(f"a trie of {size} bytes in a table of {len(table)}")
        self._max_steps = max_steps
        self._root, self._steps = _read_steps(table[4 : 4 + size])
        self._replacements = table[4 + size :]
        try:
            self._replacements.decode()
        except UnicodeDecodeError as error:
            raise RuleError(f"the replacements are not UTF-8: {error}") from None
        self._values: dict[int, str] = {}
        self._longest = self._check()
        self._next = {base: {step.byte: step for step in steps} for base, steps in self._steps.items()}
        singles, openers, seconds = self._characters()
        self._openers = frozenset(openers)
        self._find = _finder(singles, openers, seconds)

    def replacements(self) -> Iterator[str]:
        """Yield the replacements, in no order."""
        yield from self._values.values()

    def replacement_of(self, character: str) -> str | None:
        """Return what replaces a character that stands alone, or None where it stays."""
        length, replacement, _ = self._match(character, 0)
        return replacement if length else None

    def shortest(self, text: str) -> str | None:
        """Return the replacement of the shortest rule that matches at the beginning of a text, or None."""
        base = self._root
        for byte in text.encode():
            step = self._next.get(base, _NONE).get(byte)
            if step is None:
                return None
            if step.value >= 0:
                return self._values[step.value]
            base = step.base
        return None

    def of_single_characters(self) -> dict[str, str]:
        """Return what replaces each character that a rule replaces by itself."""
        return {
            character: self._values[step.value]
            for character, step in self._whole([self._root])
            if step.value >= 0
        }

    def apply(self, text: str) -> str:
        """Return a text with all that the rules replace replaced, in time linear in its length."""
        return self.apply_settled(text, final=True)[0]

    def apply_settled(self, text: str, *, final: bool, kept: AddedTokens | None = None) -> tuple[str, int]:
        """Return the replaced beginning of a text that nothing behind it can change, and its length there.

        With `final` nothing follows, and the beginning is the whole text. Names of `kept` stay as they are.
        """
        find, parts, place = self._find, list[str](), 0
        names = None if kept is None else _Names(kept, text, final=final)
        found = find(text, 0)
        while True:
            # A match further on is kept: it is not looked for again behind each name before it.
            if found is not None and found.start() < place:
                found = find(text, place)
            start = len(text) if found is None else found.start()
            if names is not None and (name := names.first(place, start)) is not None:
                if name.is_open:
                    return "".join((*parts, text[place : name.start])), name.start
                parts.append(text[place : name.stop])
                place = name.stop
                continue
            if found is None:
                break
            length, replacement, is_open = self._match(text, start)
            if is_open and not final:
                return "".join((*parts, text[place:start])), start
            stop = start + (length or 1)
            parts += text[place:start], replacement if length else text[start]
            place = stop
        used = len(text)
        # The search finds a longer rule by its first two characters. At the end there may be the first alone.
        if not final and used > place and text[-1] in self._openers:
            used -= 1
        if not parts:
            return text[:used], used
        parts.append(text[place:used])
        return "".join(parts), used

    def _match(self, text: str, start: int) -> tuple[int, str, bool]:
        """Return how much the longest rule replaces, by what, and whether more text may change that."""
        data = text[start : start + self._longest].encode()
        base, length, value = self._root, 0, -1
        for place, byte in enumerate(data):
            step = self._next.get(base, _NONE).get(byte)
            if step is None:
                break
            base = step.base
            if step.value >= 0:
                length, value = place + 1, step.value
        else:  # all that there is leads on; with as much as the longest rule takes, more does not count
            is_open = base in self._next and start + self._longest > len(text)
            return (*self._replaced(data, length, value), is_open)
        return (*self._replaced(data, length, value), False)

    def _replaced(self, data: bytes, length: int, value: int) -> tuple[int, str]:
        return (len(data[:length].decode()), self._values[value]) if length else (0, "")

    def _check(self) -> int:
        """Check all paths and replacements, and return the most characters that a rule replaces.

        Paths share their ends, so each place is looked at once; a circle has paths without an end.
        """
        known: dict[int, tuple[int, int, int]] = {}  # pending bytes, characters and bytes behind a place

        def depths(base: int, pending: int, level: int) -> tuple[int, int]:
            before, characters, size = known.get(base, (pending, 0, 0))
            if before != pending:
                raise RuleError("paths that meet within different characters")
            # Of a known place too: it may now be reached by a longer path.
            if level + size > MAX_RULE:
                raise RuleError(f"a rule for more than {MAX_RULE} bytes, or a circle")
            if base in known:
                return characters, size
            for step in self._steps.get(base, ()):
                left = _pending(step.byte, pending)
                if step.value >= 0:
                    if left:
                        raise RuleError("a rule that ends within a character")
                    self._read_value(step.value)
                characters_behind, size_behind = depths(step.base, left, level + 1)
                characters = max(characters, (not pending) + characters_behind)
                size = max(size, 1 + size_behind)
            known[base] = pending, characters, size
            return characters, size

        return depths(self._root, 0, 0)[0]

    def _read_value(self, place: int) -> None:
        if place in self._values:
            return
        data = self._replacements
        end = data.find(0, place, place + MAX_REPLACEMENT + 1)
        if end < 0 or data[place] & 0xC0 == 0x80:
            raise RuleError(f"no replacement of at most {MAX_REPLACEMENT} bytes at {place}")
        self._values[place] = data[place:end].decode()

    def _characters(self) -> tuple[list[str], list[str], list[str]]:
        """Return the characters that rules replace, begin longer rules with, and have behind those."""
        singles, openers, second_of = list[str](), list[str](), set[int]()
        for character, step in self._whole([self._root]):
            if step.value >= 0:
                singles.append(character)
            if step.base in self._steps:
                openers.append(character)
                second_of.add(step.base)
        return singles, openers, sorted({character for character, _ in self._whole(second_of)})

    def _whole(self, bases: Iterable[int]) -> Iterator[tuple[str, _Step]]:
        """Yield the whole characters that lead on from some places, and the last step of each.

        Raises:
            RuleError: there are more steps than any table needs.
        """
        stack = [(b"", base, 0) for base in bases]
        left = self._max_steps
        while stack:
            begun, place, pending = stack.pop()
            for step in self._steps.get(place, ()):
                left -= 1
                if left < 0:
                    raise RuleError(f"more than {self._max_steps} steps to the characters of its rules")
                data, following = begun + bytes((step.byte,)), _pending(step.byte, pending)
                if following:
                    stack.append((data, step.base, following))
                else:
                    yield data.decode("utf-8", "replace"), step


_NONE: dict[int, _Step] = {}


def _read_steps(data: bytes) -> tuple[int, dict[int, list[_Step]]]:
    """Return the place that the first units count from, and the units by the place that they count from.

    Raises:
        RuleError: a unit leads out of the trie.
    """
    units = array("I", data)
    if sys.byteorder == "big":
        units.byteswap()
    steps: dict[int, list[_Step]] = {}
    for place, unit in enumerate(units):
        # A unit that holds a replacement has bit 31, so its value is no byte; nor is 0, which leads nowhere.
        byte = unit & (_END | 0xFF)
        if not 0 < byte < 256:
            continue
        base, value = place ^ _distance(unit), -1
        if unit & _LEAF:
            if base >= len(units) or not units[base] & _END:
                raise RuleError(f"unit {place} leads to no replacement")
            value = units[base] & (_END - 1)
        steps.setdefault(place ^ byte, []).append(_Step(byte, base, value))
    return _distance(units[0]), steps


def _distance(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _pending(byte: int, pending: int) -> int:
    """Return how many bytes a character still has after one, of which `pending` were to come.

    Raises:
        RuleError: the byte cannot be there.
    """
    if pending:
        if byte & 0xC0 == 0x80:
            return pending - 1
    elif byte < 0x80:
        return 0
    elif 0xC2 <= byte <= 0xF4:
        return 1 + (byte >= 0xE0) + (byte >= 0xF0)
    raise RuleError("a rule for bytes that are no characters")


def _finder(
    singles: list[str], openers: list[str], seconds: list[str]
) -> Callable[[str, int], re.Match[str] | None]:
    """Return the search for places at which a rule may match."""
    ways = [character_set(singles)] if singles else []
    if seconds:
        ways.append(f"{character_set(openers)}(?={character_set(seconds)})")
    return re.compile("|".join(ways) or "(?!)").search


def character_set(characters: Iterable[str]) -> str:
    """Return a `re` set. It holds all astral characters if any: one comparison, not many."""
    characters = list(characters)
    plane = "".join(map(re.escape, sorted(character for character in characters if character <= "\uffff")))
    astral = any(character > "\uffff" for character in characters)
    return "[" + plane + ("\U00010000-\U0010ffff" if astral else "") + "]"
