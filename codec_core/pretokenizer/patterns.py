"""Patterns that are no known sequence of operations: they run on the `regex` package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import regex

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.pretokenizer.reach import PatternReach, UnreadPatternError
from codec_core.unicode.classes import whole_char_class

TIMEOUT = 0.5
TIMEOUT_A_CHARACTER = 5e-6
"""Seconds that a pattern may take for a text: ordinary ones take a fiftieth of it, and some never end."""

READ_A_CHARACTER = 64
"""Characters that may be read for each one of a text to find which cuts are settled; what is left is held."""

_SETS_IN_SETS = regex.compile(r"\[(?:[^\[\]\\]|\\.)*(?:&&|\[(?!:))")
"""Sets in sets and intersections: `regex` reads them as the reference tokenizers do by its version 1."""

Compile = Callable[[str], regex.Pattern[str]]


def compiler_of(pattern: str) -> Compile:
    """Return what compiles a pattern, or a part of it, with the meaning that reference tokenizers give it.

    What it returns raises TokenizerMapValidationError for what does not compile.
    """
    in_sets = _SETS_IN_SETS.search(pattern) is not None

    def compile_part(part: str) -> regex.Pattern[str]:
        try:
            return regex.compile(f"(?-f){part}", regex.V1) if in_sets else regex.compile(part)
        except (regex.error, RecursionError, OverflowError) as error:
            raise TokenizerMapValidationError(f"pre_tokenizer_pattern: not a pattern: {error}") from error

    return compile_part


def _reach_of(pattern: str, compile_part: Compile) -> PatternReach | None:
    try:
        return PatternReach(pattern, compile_part)
    except (UnreadPatternError, TokenizerMapValidationError, RecursionError):
        return None


def as_assigned(text: str) -> str:
    """Return the text with U+FFFF for characters that the reference's version of Unicode has not assigned.

    `regex` may know a later version; U+FFFF is assigned in none.
    """
    return text if text.isascii() else _unassigned().sub("\uffff", text)


@cache
def _unassigned() -> re.Pattern[str]:
    return re.compile(f"[{whole_char_class('Cn')}]")


class PatternStage:
    """Runs a pattern that is no known sequence of operations.

    Which of its cuts are settled is known for patterns of the plain syntax that `reach` reads. Of others
    nothing is ever settled: they may look arbitrarily far ahead, or behind the text that is held.
    """

    def __init__(self, pattern: str) -> None:
        compile_part = compiler_of(pattern)
        self._pattern = compile_part(pattern)
        self._reach = _reach_of(pattern, compile_part)

    def cut(self, text: str) -> list[str]:
        """Return the matches and what lies between them.

        Raises:
            TokenizerMapValidationError: the pattern takes too long on this text.
        """
        pieces = []
        position = 0
        for start, stop in self._spans(as_assigned(text)):
            if start > position:
                pieces.append(text[position:start])
            if stop > start:
                pieces.append(text[start:stop])
            position = max(position, stop)
        if position < len(text):
            pieces.append(text[position:])
        return pieces

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the pieces that are found without a look at the end of the text, and the rest."""
        if self._reach is None:
            return [], text
        pieces: list[str] = []
        position, budget = 0, READ_A_CHARACTER * len(text)
        shown = as_assigned(text)
        for start, stop in list(self._spans(shown)):
            for place in range(position, start + 1):
                read = self._reach.read(shown, place, budget)
                if read is None:
                    return pieces, text[position:]
                budget -= read
            if start > position:
                pieces.append(text[position:start])
            pieces.append(text[start:stop])
            position = stop
        return pieces, text[position:]

    def reach(self, rest: str) -> str:  # noqa: ARG002
        """Return nothing: any part of the rest may yet be divided."""
        return ""

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        allowed = TIMEOUT + len(text) * TIMEOUT_A_CHARACTER
        try:
            yield from (match.span() for match in self._pattern.finditer(text, timeout=allowed))
        except TimeoutError:
            raise TokenizerMapValidationError(
                f"pre_tokenizer_pattern: takes more than {allowed:.1f} s for {len(text)} characters"
            ) from None
