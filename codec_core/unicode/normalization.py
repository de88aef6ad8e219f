"""Normalization to NFC, of a whole text and of a text that arrives in parts."""

from __future__ import annotations

import re
from functools import cache
from unicodedata import combining, is_normalized, normalize

from codec_core.unicode._generated_categories import LATE_COMPOSERS

_LONG_RUN = 64
"""Marks in a row above which they are sorted here: the interpreter sorts them by insertion, in quadratic
time."""


def nfc(text: str) -> str:
    """Return the text in normalization form C, in time linear in its length."""
    if is_normalized("NFC", text):
        return text
    return normalize("NFC", _long_runs().sub(_sorted_marks, text) if len(text) > _LONG_RUN else text)


def _sorted_marks(match: re.Match[str]) -> str:
    # Marks decompose into marks of other classes; sorting is stable, so sorting first changes nothing after
    # it.
    return "".join(sorted(match.group(), key=combining))


@cache
def _long_runs() -> re.Pattern[str]:
    marks = "".join(re.escape(chr(point)) for point in range(0x110000) if combining(chr(point)))
    return re.compile(f"[{marks}]{{{_LONG_RUN},}}")


class NfcStream:
    """Normalizes a text that arrives in parts. What follows may join the last character: it is held.

    So is all that joins it, in parts, none of which is looked at twice.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[str] = []

    @property
    def held(self) -> str:
        """Return the text that is held, as it came."""
        return "".join(self._held)

    def feed(self, text: str) -> str:
        """Return the normalized text that no continuation can change."""
        place = len(text) - 1
        while place >= 0 and joins_backwards(text[place]):
            place -= 1
        if place < 0:
            if text:
                self._held.append(text)
            return ""
        settled = self.held + text[:place]
        self._held = [text[place:]]
        return nfc(settled)

    def flush(self) -> str:
        """Return the rest, normalized."""
        rest = self.held
        self._held = []
        return nfc(rest)


def joins_backwards(character: str) -> bool:
    """Tell whether NFC may join or reorder a character with those before it."""
    return character > "\u02ff" and (combining(character) != 0 or character in LATE_COMPOSERS)
