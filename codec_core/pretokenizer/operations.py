"""The operations of a program as alternatives of one regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from codec_core import pretokenizer_program as programs
from codec_core.pretokenizer.pattern_sets import fold
from codec_core.pretokenizer_program import Op
from codec_core.unicode.classes import WHITE_SPACE, char_class, samples

ASCII_PUNCTUATION = r"!-/:-@\[-`{-~"
ClassOf = Callable[[str], str]
"""Spells the inside of the character set of a class: `char_class`, or the same over all planes."""


def alternative_of(op: Op, class_of: ClassOf = char_class) -> str:
    """Return an operation as an alternative of a regular expression, by default a `re` one over the BMP."""
    match op:
        case programs.LiteralsCi(patterns):
            return f"(?:{_longest_first(patterns, _folded)})"
        case programs.Literals(patterns):
            return f"(?:{_longest_first(patterns, re.escape)})"
        case programs.Letters():
            return _lead(op.lead_other, op.lead_space, op.lead_other_class, class_of) + _body(
                op.body, class_of
            )
        case programs.LettersCased():
            return _cased(op, class_of)
        case programs.Numbers(max_run, lead_space):
            return f"{' ?' if lead_space else ''}[{class_of('N')}]{f'{{1,{max_run}}}' if max_run else '+'}"
        case programs.PunctRun():
            return _punct_run(op, class_of)
        case programs.PunctAsciiLetters():
            return f"[{ASCII_PUNCTUATION}][A-Za-z]+"
        case programs.NewlineBlock():
            return rf"[{class_of('s')}]*[\r\n]+"
        case programs.TrailingWs():
            return f"[{class_of('s')}]+(?![^{class_of('s')}])"
        case programs.WsRun():
            return f"[{class_of('s')}]+"
        case programs.MetaspaceSplit():
            return f"[^{class_of('s')}]+"
    raise AssertionError(op)


def _folded(literal: str) -> str:
    return "".join(
        f"[{fold(letter)}]" if _is_ascii_letter(letter)
        else re.escape(letter)
        for letter in literal
    )  # fmt: skip


def _is_ascii_letter(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def _longest_first(patterns: Iterable[str], spell: Callable[[str], str]) -> str:
    return "|".join(map(spell, sorted(patterns, key=len, reverse=True)))


def _lead(lead_other: bool, lead_space: bool, other_class: str | None, class_of: ClassOf) -> str:
    if lead_other and other_class == "l_p_s":
        return rf"[^\r\n{class_of('L')}{class_of('P')}{class_of('S')}]?"
    if lead_other:
        return rf"[^\r\n{class_of('L')}{class_of('N')}]?"
    return " ?" if lead_space else ""


def _body(body: str | None, class_of: ClassOf) -> str:
    return f"[{class_of('L')}{class_of('M') if body == 'L_M' else ''}]+"


def _cased(op: programs.LettersCased, class_of: ClassOf) -> str:
    shared = class_of("Lm") + class_of("Lo") + class_of("M")
    upper = f"[{class_of('Lu')}{class_of('Lt')}{shared}]"
    lower = f"[{class_of('Ll')}{shared}]"
    letters = f"{upper}*{lower}+" if op.kind == "title" else f"{upper}+{lower}*"
    trailing = f"(?:{_longest_first(op.trailing_ci, _folded)})?" if op.trailing_ci else ""
    return _lead(op.lead_other, False, None, class_of) + letters + trailing


def _punct_run(op: programs.PunctRun, class_of: ClassOf) -> str:
    if op.charset == "p_s":
        body = f"[{class_of('P')}{class_of('S')}]+"
    else:
        body = f"[^{class_of('s')}{class_of('L')}{class_of('N')}]+"
    after = op.trailing_chars or ("\r\n" if op.trailing_newlines else "")
    return f"{' ?' if op.lead_space else ''}{body}" + (f"[{re.escape(after)}]*" if after else "")


def literal_prefixes(ops: Iterable[Op]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the beginnings of literals that are no literals yet: exact, folded, and after letters."""
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


def is_total(ops: Sequence[Op]) -> bool:
    """Return whether every character is taken by some operation that needs nothing beside it.

    `trailing_ws` does not count, because it looks at what follows. All others match a longer text wherever
    they match its first character alone.
    """
    counted = [op for op in ops if not isinstance(op, programs.TrailingWs)]
    # Operations tell the characters of ASCII and white space apart, and of all others only the categories. A
    # literal takes one character of its category and leaves the others.
    classes = [op for op in counted if not isinstance(op, programs.Literals | programs.LiteralsCi)]
    return _takes_all(counted, "".join(map(chr, range(128))) + WHITE_SPACE) and _takes_all(classes, samples())


def _takes_all(ops: Sequence[Op], characters: str) -> bool:
    match = re.compile("|".join(map(alternative_of, ops))).match
    return bool(ops) and all(map(match, characters))
