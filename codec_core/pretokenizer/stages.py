"""The stages of a pre-tokenizer: each cuts a text, and knows which of its cuts are settled."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from codec_core import pretokenizer_program as programs
from codec_core.pretokenizer.operations import ClassOf, alternative_of, is_total, literal_prefixes
from codec_core.pretokenizer_program import Op
from codec_core.unicode.classes import WHITE_SPACE, char_class


class Stage(Protocol):
    """One stage of a pre-tokenizer, over texts without astral characters."""

    def cut(self, text: str) -> list[str]:
        """Return the pieces, which joined are the text."""

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the pieces that no continuation can change, and the rest of the text."""

    def reach(self, rest: str) -> str:
        """Return the part of an unsettled rest that certainly belongs to one piece with its start."""


class AlternationStage:
    """At each position the first operation that matches takes its span."""

    def __init__(self, ops: Sequence[Op], class_of: ClassOf = char_class) -> None:
        self._pattern = re.compile("|".join(alternative_of(op, class_of) for op in ops))
        self._find = self._pattern.findall
        self._total = is_total(ops)
        self.cut: Callable[[str], list[str]] = self._find if self._total else self._cut_with_gaps
        exact, folded, trailing = literal_prefixes(ops)
        self._exact, self._folded, self._trailing = exact, folded, trailing
        self._longest = max(map(len, exact | folded), default=0)
        # In lower case for exact literals too: one that is taken for open too early costs only time.
        self._no_literal_starts = frozenset(prefix.casefold()[0] for prefix in exact | folded).isdisjoint
        self._longest_trailing = max(map(len, trailing), default=0)
        cased = any(isinstance(op, programs.LettersCased) for op in ops)
        self._is_simple = self._total and not cased
        # Marks count as letters: those operations take both in one run, and a letter behind it may decide
        # where it is divided.
        self._cased = re.compile(f"[{class_of('L')}{class_of('M')}]").match if cased else None

    def reach(self, rest: str) -> str:  # noqa: ARG002 - nothing of a rest is certain to be one piece
        """Return nothing: any part of the rest may yet be divided."""
        return ""

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the settled pieces and the rest."""
        pieces = self.cut(text)
        if self._is_simple and pieces:
            length = len(pieces[-1])
            # Only the last piece is open where no literal can have begun near the end, and white space at the
            # end is all its own. `isspace` holds for a few more characters, which costs only time.
            if (length > self._longest or self._no_literal_starts(text[-self._longest :].casefold())) and (
                not text[-1].isspace() or (length < len(text) and not text[-length - 1].isspace())
            ):
                last = pieces.pop()
                return pieces, last
        return self._settle_from_end(text, pieces)

    def _settle_from_end(self, text: str, pieces: list[str]) -> tuple[list[str], str]:
        # From the end backwards. A piece is open if it reaches the end, or the white space or cased letters
        # there, or if it begins or is followed by what may become a literal. Before `floor`, none can be.
        end = len(text)
        blank = len(text.rstrip(WHITE_SPACE))
        letters = self._start_of_letters(text) if self._cased else end
        floor = min(blank, letters, end - self._longest - 1, end - self._longest_trailing - 1)
        keep, settled, stop = len(pieces), end, end
        open_after = True
        for index in range(len(pieces) - 1, -1, -1):
            start = stop - len(pieces[index])
            is_open = (
                stop == end
                or stop > blank
                or stop > letters
                or self._may_become_literal(text, start, stop, end)
                or (open_after and not self._total)  # a gap ends where the next match begins
            )
            if is_open:
                keep, settled = index, start
            elif stop < floor:
                break
            open_after, stop = is_open, start
        return pieces[:keep], text[settled:]

    def _may_become_literal(self, text: str, start: int, stop: int, end: int) -> bool:
        if end - start <= self._longest:
            tail = text[start:]
            if tail in self._exact or tail.casefold() in self._folded:
                return True
        return end - stop <= self._longest_trailing and text[stop:].casefold() in self._trailing

    def _start_of_letters(self, text: str) -> int:
        assert self._cased is not None
        start = len(text)
        while start and self._cased(text, start - 1):
            start -= 1
        return start

    def _cut_with_gaps(self, text: str) -> list[str]:
        pieces = []
        position = 0
        for match in self._pattern.finditer(text):
            start, stop = match.span()
            if start > position:
                pieces.append(text[position:start])
            pieces.append(text[start:stop])
            position = stop
        if position < len(text):
            pieces.append(text[position:])
        return pieces


class IsolateStage:
    """Isolates the spans of one kind; what lies between them comes out as it is."""

    def __init__(self, span: str, *, undecided: str | None = None) -> None:
        self._pattern = re.compile(span)
        self.cut: Callable[[str], list[str]] = self._pattern.findall
        self._undecided = re.compile(undecided + r"\Z").search if undecided else None

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return all pieces but the last, which may go on."""
        pieces = self.cut(text)
        return pieces[:-1], pieces[-1] if pieces else ""

    def reach(self, rest: str) -> str:
        """Return the rest without what a continuation may yet take out of it."""
        match = self._undecided(rest) if self._undecided else None
        return rest[: match.start()] if match else rest


class DigitTriplesStage:
    """Cuts runs of digits in threes, counted from their end.

    Between two cuts nothing is looked for: a run that is not cut stays with what is beside it.
    """

    def __init__(self, digits: str, *, before: bool, after: bool) -> None:
        """Take the digits as a character class, and on which sides a run is cut off.

        Before the run, it is cut off only where it is all triples.
        """
        self._runs = re.compile(f"{digits}+")
        self._last_run = re.compile(rf"(?<!{digits}){digits}+\Z").search
        self._before, self._after = before, after

    def cut(self, text: str) -> list[str]:
        """Return the pieces, which joined are the text."""
        pieces = []
        position = 0
        for match in self._runs.finditer(text):
            start, stop = match.span()
            # In a run of whole triples the first cut is the start of the run: left out without `before`.
            cuts = range(start + (stop - start) % 3, stop, 3)
            for place in cuts if self._before else cuts[cuts.start == start :]:
                if place > position:
                    pieces.append(text[position:place])
                    position = place
            if self._after:
                pieces.append(text[position:stop])
                position = stop
        if position < len(text):
            pieces.append(text[position:])
        return pieces

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the pieces before a run of digits at the end, which may go on, and the rest."""
        run = self._last_run(text)
        # The last piece stays open: what follows it, up to the next cut, is a part of it.
        pieces = self.cut(text[: run.start()] if run else text)[:-1]
        return pieces, text[sum(map(len, pieces)) :]

    def reach(self, rest: str) -> str:
        """Return the rest before a run of digits."""
        match = self._runs.search(rest)
        return rest[: match.start()] if match else rest


class WholeStage:
    """No pre-tokenizer: a text is one piece, which every continuation changes."""

    def cut(self, text: str) -> list[str]:
        """Return the text as one piece."""
        return [text] if text else []

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return nothing settled."""
        return [], text

    def reach(self, rest: str) -> str:
        """Return the rest: it is one piece."""
        return rest
