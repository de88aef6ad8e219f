"""Where a text is cut into pieces, and which of these cuts no continuation of the text can move.

Each operation of a program becomes an alternative of one regular expression over character sets of a fixed
Unicode version; a pattern that spells the same operations takes the same road. Other patterns run on the
`regex` package.

A cut is settled when finding the pieces before it looked at nothing beyond the end of the text so far: then
whatever is appended cannot change them. The operations look past the end of their piece in few ways, and
these are all that `settle` has to know:

* a run may go on while its piece ends at the end of the text;
* white space is divided by what follows its whole run;
* a literal (`'r`) may be on its way to a longer one (`'re`), at the start of a piece or, for letters with a
trailing
  contraction, right after it;
* cased letters try the whole run of letters and marks before they give parts of it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Protocol

from codec_core import programs
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.programs import Op, Program
from codec_core.unicode.classes import CJK, WHITE_SPACE, char_class, representatives, shadow

_ASCII_PUNCTUATION = r"!-/:-@\[-`{-~"
_FOLDS = {"s": "sSſ", "k": "kK\u212a"}
"""ASCII letters that have a third case form: patterns in the field say `(?i:..)`, which takes it too."""


class Stage(Protocol):
    """One stage of a pre-tokenizer, over texts without astral characters."""

    def cut(self, text: str) -> list[str]:
        """Return the pieces, which joined are the text."""

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the pieces that no continuation can change, and the rest of the text."""

    def reach(self, rest: str) -> str:
        """Return the part of an unsettled rest that certainly belongs to one piece with its start."""


class PreTokenizer:
    """Cuts texts into pieces, in one or more stages."""

    def __init__(self, stages: Sequence[Stage], *, shadowed: bool = True) -> None:
        self._stages = stages
        self._first = stages[0].cut
        self._settle = stages[0].settle if len(stages) == 1 else self._settle_stages
        self._shadowed = shadowed

    def cut(self, text: str) -> list[str]:
        """Return the pieces of a text, which joined are the text."""
        if self._shadowed and not text.isascii() and _has_astral(text):
            return _pieces_like(text, self._cut(shadow(text)))
        return self._cut(text)

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return the first pieces of the text, those that no continuation can change, and the rest.

        For every string `more`, `cut(text + more)` begins with these pieces.
        """
        del seen  # a cut is found from the beginning of its piece
        if not text.isascii() and self._shadowed and _has_astral(text):
            pieces, _ = self._settle(shadow(text))
            settled = sum(map(len, pieces))
            return _pieces_like(text, pieces), text[settled:]
        return self._settle(text)

    def _cut(self, text: str) -> list[str]:
        pieces = self._first(text)
        for stage in self._stages[1:]:
            pieces = list(chain.from_iterable(map(stage.cut, pieces)))
        return pieces

    def _settle_stages(self, text: str) -> tuple[list[str], str]:
        return _settle_stages(self._stages, text)


def _settle_stages(stages: Sequence[Stage], text: str) -> tuple[list[str], str]:
    """Settle a text through several stages.

    A settled piece of one stage is a whole text for the next. The rest, as far as it certainly stays one
    piece, is a text for the next stage that may end there or go on: which is just what settling allows for.
    """
    stage, later = stages[0], stages[1:]
    pieces, rest = stage.settle(text)
    if not later:
        return pieces, rest
    done: list[str] = []
    for piece in pieces:
        done.extend(_cut_stages(later, piece))
    more, _ = _settle_stages(later, stage.reach(rest))
    return done + more, rest[sum(map(len, more)) :]


def _cut_stages(stages: Sequence[Stage], piece: str) -> list[str]:
    pieces = [piece]
    for stage in stages:
        pieces = list(chain.from_iterable(map(stage.cut, pieces)))
    return pieces


def _has_astral(text: str) -> bool:
    return len(text.encode("utf-16-le", "surrogatepass")) != 2 * len(text)


def _pieces_like(text: str, pieces: Iterable[str]) -> list[str]:
    cuts: list[str] = []
    start = 0
    for piece in pieces:
        stop = start + len(piece)
        cuts.append(text[start:stop])
        start = stop
    return cuts


# Stages


class AlternationStage:
    """At each position the first operation that matches takes its span."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self._pattern = re.compile("|".join(map(alternative_of, ops)))
        self._find = self._pattern.findall
        self._total = _is_total(ops)
        self.cut: Callable[[str], list[str]] = self._find if self._total else self._cut_with_gaps
        exact, folded, trailing = _literal_prefixes(ops)
        self._exact, self._folded, self._trailing = exact, folded, trailing
        self._longest = max(map(len, exact | folded), default=0)
        self._longest_trailing = max(map(len, trailing), default=0)
        cased = any(isinstance(op, programs.LettersCased) for op in ops)
        self._is_simple = self._total and not cased
        self._cased = re.compile(f"[{char_class('L')}{char_class('M')}]").match if cased else None

    def reach(self, rest: str) -> str:  # noqa: ARG002 - nothing of a rest is certain to be one piece
        """Return nothing: any part of the rest may yet be divided."""
        return ""

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return the settled pieces and the rest."""
        pieces = self.cut(text)
        if self._is_simple and pieces and len(pieces[-1]) > self._longest and not text[-1].isspace():
            # Only the last piece touches the end, and no earlier one is near enough to become a literal.
            return pieces[:-1], pieces[-1]
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
                or (open_after and not self._total)
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
            if start == stop:
                continue
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


class PatternStage:
    """Runs a pattern that is no known sequence of operations.

    What such a pattern may still do at the end of a text is not known, so nothing is ever settled.
    """

    def __init__(self, pattern: str) -> None:
        import regex  # takes a tenth of the package's import time, and few maps need it

        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise TokenizerMapValidationError(f"pre_tokenizer_pattern: not a pattern: {error}") from error

    def cut(self, text: str) -> list[str]:
        """Return the matches and what lies between them."""
        pieces = []
        position = 0
        for match in self._pattern.finditer(text):
            start, stop = match.span()
            if start > position:
                pieces.append(text[position:start])
            if stop > start:
                pieces.append(text[start:stop])
            position = max(position, stop)
        if position < len(text):
            pieces.append(text[position:])
        return pieces

    def settle(self, text: str) -> tuple[list[str], str]:
        """Return nothing settled: an unknown pattern may look arbitrarily far ahead."""
        return [], text

    def reach(self, rest: str) -> str:  # noqa: ARG002
        """Return nothing."""
        return ""


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


# Operations as regular expressions


def alternative_of(op: Op) -> str:
    """Return an operation as an alternative of a `re` pattern over the BMP."""
    match op:
        case programs.LiteralsCi(patterns):
            return f"(?:{_longest_first(patterns, _folded)})"
        case programs.Literals(patterns):
            return f"(?:{_longest_first(patterns, re.escape)})"
        case programs.Letters():
            return _lead(op.lead_other, op.lead_space, op.lead_other_class) + _body(op.body)
        case programs.LettersCased():
            return _cased(op)
        case programs.Numbers(max_run, lead_space):
            return f"{' ?' if lead_space else ''}[{char_class('N')}]{f'{{1,{max_run}}}' if max_run else '+'}"
        case programs.PunctRun():
            return _punct_run(op)
        case programs.PunctAsciiLetters():
            return f"[{_ASCII_PUNCTUATION}][A-Za-z]+"
        case programs.NewlineBlock():
            return rf"[{char_class('s')}]*[\r\n]+"
        case programs.TrailingWs():
            return f"[{char_class('s')}]+(?![^{char_class('s')}])"
        case programs.WsRun():
            return f"[{char_class('s')}]+"
        case programs.MetaspaceSplit():
            return f"[^{char_class('s')}]+"
    raise AssertionError(op)


def _folded(literal: str) -> str:
    return "".join(
        f"[{_FOLDS.get(letter.lower(), letter.lower() + letter.upper())}]" if _is_ascii_letter(letter)
        else re.escape(letter)
        for letter in literal
    )  # fmt: skip


def _is_ascii_letter(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def _longest_first(patterns: Iterable[str], spell: Callable[[str], str]) -> str:
    return "|".join(map(spell, sorted(patterns, key=len, reverse=True)))


def _lead(lead_other: bool, lead_space: bool, other_class: str | None) -> str:
    if lead_other and other_class == "l_p_s":
        return rf"[^\r\n{char_class('L')}{char_class('P')}{char_class('S')}]?"
    if lead_other:
        return rf"[^\r\n{char_class('L')}{char_class('N')}]?"
    return " ?" if lead_space else ""


def _body(body: str | None) -> str:
    return f"[{char_class('L')}{char_class('M') if body == 'L_M' else ''}]+"


def _cased(op: programs.LettersCased) -> str:
    shared = char_class("Lm") + char_class("Lo") + char_class("M")
    upper = f"[{char_class('Lu')}{char_class('Lt')}{shared}]"
    lower = f"[{char_class('Ll')}{shared}]"
    letters = f"{upper}*{lower}+" if op.kind == "title" else f"{upper}+{lower}*"
    trailing = f"(?:{_longest_first(op.trailing_ci, _folded)})?" if op.trailing_ci else ""
    return _lead(op.lead_other, lead_space=False, other_class=None) + letters + trailing


def _punct_run(op: programs.PunctRun) -> str:
    if op.charset == "p_s":
        body = f"[{char_class('P')}{char_class('S')}]+"
    else:
        body = f"[^{char_class('s')}{char_class('L')}{char_class('N')}]+"
    after = op.trailing_chars or ("\r\n" if op.trailing_newlines else "")
    return f"{' ?' if op.lead_space else ''}{body}" + (f"[{re.escape(after)}]*" if after else "")


def _literal_prefixes(ops: Iterable[Op]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    exact: set[str] = set()
    folded: set[str] = set()
    trailing: set[str] = set()
    for op in ops:
        if isinstance(op, programs.Literals):
            exact.update(_proper_prefixes(op.patterns))
        elif isinstance(op, programs.LiteralsCi):
            folded.update(_proper_prefixes(map(str.casefold, op.patterns)))
        elif isinstance(op, programs.LettersCased):
            trailing.update(_proper_prefixes(map(str.casefold, op.trailing_ci)))
    return frozenset(exact), frozenset(folded), frozenset(trailing)


def _proper_prefixes(patterns: Iterable[str]) -> Iterable[str]:
    return (pattern[:length] for pattern in patterns for length in range(1, len(pattern)))


def _is_total(ops: Sequence[Op]) -> bool:
    """Tell whether every character is taken by some operation that needs nothing beside it.

    `trailing_ws` does not count, because it looks at what follows. All others match a longer text wherever
    they match its first character alone.
    """
    counted = [op for op in ops if not isinstance(op, programs.TrailingWs)]
    if not counted:
        return False
    pattern = re.compile("|".join(map(alternative_of, counted)))
    return all(map(pattern.match, representatives()))


# From a map


def pretokenizer_of(program: Program | None, pattern: str | None) -> PreTokenizer:
    """Return the pre-tokenizer that a map states.

    The program is preferred to the pattern. Without either, a text is one piece.

    Raises:
        TokenizerMapValidationError: the pattern does not compile.
    """
    if program is not None:
        return PreTokenizer([_stage(stage) for stage in programs.stages_of(program)])
    if pattern is None:
        return PreTokenizer([WholeStage()], shadowed=False)
    ops = programs.ops_of_pattern(pattern)
    if ops is None:
        return PreTokenizer([PatternStage(pattern)], shadowed=False)
    return PreTokenizer([AlternationStage(ops)])


def _stage(stage: programs.Stage) -> Stage:
    numbers, punctuation = char_class("N"), char_class("P") + _ASCII_PUNCTUATION
    match stage:
        case programs.Alternation(ops):
            return AlternationStage(ops)
        case programs.DigitsIsolate(mode, max_run):
            limit = 1 if mode == "individual" else max_run
            return IsolateStage(f"[{numbers}]{f'{{1,{limit}}}' if limit else '+'}|[^{numbers}]+")
        case programs.DigitTriplesIsolate():
            return IsolateStage(r"[0-9]{3}|(?:(?![0-9]{3})[\s\S])+", undecided="[0-9]{1,2}")
        case programs.PunctuationContiguous():
            return IsolateStage(f"[{punctuation}]+|[^{punctuation}]+")
        case programs.CjkIsolate():
            return IsolateStage(f"[{CJK}]+|[^{CJK}]+")
    raise AssertionError(stage)
