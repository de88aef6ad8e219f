"""Normalization to NFC and NFKC, of a whole text and of a text that arrives in parts."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Literal
from unicodedata import combining, is_normalized, normalize

from codec_core.unicode._generated_categories import LATE_COMPOSERS

Form = Literal["NFC", "NFKC"]

_LONG_RUN = 64
"""Marks in a row above which they are sorted here: the interpreter sorts them by insertion, in quadratic
time."""


def normalized(form: Form, text: str) -> str:
    """Return the text in a normalization form, as the reference does it, in time linear in its length.

    The reference's tables are of an older Unicode version than the interpreter's: what came later stays as
    it is, and nothing is joined or reordered across it.
    """
    if is_normalized(form, text):
        return text
    parts = _later().split(text)  # the odd ones are the characters of later versions
    if len(parts) > 1:
        return "".join(part if number % 2 else _normalize(form, part) for number, part in enumerate(parts))
    return _normalize(form, text)


def _normalize(form: Form, text: str) -> str:
    return normalize(form, _long_runs().sub(_sorted_marks, text) if len(text) > _LONG_RUN else text)


def _sorted_marks(match: re.Match[str]) -> str:
    # Marks decompose into marks of other classes; sorting is stable, so sorting first changes nothing after
    # it.
    return "".join(sorted(match.group(), key=combining))


@cache
def _later() -> re.Pattern[str]:
    from codec_core.unicode._generated_normalization import LATER

    ranges = (pair.split("-") for pair in LATER.split())
    spelled = "".join(f"{chr(int(first, 16))}-{chr(int(last, 16))}" for first, last in ranges)
    return re.compile(f"([{spelled}])")


@cache
def _long_runs() -> re.Pattern[str]:
    marks = "".join(re.escape(chr(point)) for point in range(0x110000) if combining(chr(point)))
    return re.compile(f"[{marks}]{{{_LONG_RUN},}}")


class NormalizedStream:
    """Normalizes a text that arrives in parts. What follows may join the last character: it is held.

    So is all that joins it, in parts, none of which is looked at twice.
    """

    __slots__ = ("_form", "_held", "_joins")

    def __init__(self, form: Form) -> None:
        self._form: Form = form
        self._joins = joins_backwards if form == "NFC" else joins_backwards_decomposed
        self._held: list[str] = []

    @property
    def held(self) -> str:
        """Return the text that is held, as it came."""
        return "".join(self._held)

    def feed(self, text: str) -> str:
        """Return the normalized text that no continuation can change."""
        place = len(text) - 1
        while place >= 0 and self._joins(text[place]):
            place -= 1
        if place < 0:  # all of it may join what is held
            if text:
                self._held.append(text)
            return ""
        settled = self.held + text[:place]
        self._held = [text[place:]]
        return normalized(self._form, settled)

    def flush(self) -> str:
        """Return the rest, normalized."""
        rest = self.held
        self._held = []
        return normalized(self._form, rest)


def joins_backwards(character: str) -> bool:
    """Return whether NFC may join or reorder a character with those before it."""
    # No mark is below U+0300, nor any of `LATE_COMPOSERS`: most characters are told by that alone.
    return (
        character > "\u02ff"
        and (combining(character) != 0 or character in LATE_COMPOSERS)
        and not _later().match(character)
    )


@lru_cache(maxsize=8192)
def joins_backwards_decomposed(character: str) -> bool:
    """Return whether NFKC may join or reorder a character, or what stands for it, with those before it."""
    first = character if _later().match(character) else normalize("NFKD", character)[0]
    return joins_backwards(first)
