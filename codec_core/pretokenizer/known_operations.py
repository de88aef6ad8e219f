"""Patterns that spell the operations of a program, however they are written.

Pattern and operation are compared as trees: sets by their characters, whatever spells them, and without
possessive repetitions that change nothing. So what is found here is equal to the pattern by construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import groupby, product
from math import prod
from typing import Literal

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.pretokenizer.pattern_parser import parse_pattern
from codec_core.pretokenizer.pattern_sets import fold
from codec_core.pretokenizer.pattern_tree import (
    Alternatives,
    Chars,
    Node,
    Repeat,
    Sequence,
    sequence,
    without_commitment,
)
from codec_core.pretokenizer_program import (
    MAX_LITERAL_CHARACTERS,
    MAX_OPS,
    MAX_RUN,
    CjkIsolate,
    DigitsIsolate,
    DigitTriplesIsolate,
    Letters,
    LettersCased,
    Literals,
    LiteralsCi,
    NewlineBlock,
    Numbers,
    Op,
    PunctAsciiLetters,
    PunctRun,
    Stage,
    TrailingWs,
    WsRun,
)
from codec_core.unicode.charsets import SPACE, CharSet, category

MAX_CASE_FORMS = 64
"""Spellings of one literal, which double with each letter in two cases; `'[rR][eE]` has four."""

MAX_LIST = 16
"""Characters of a set that is taken for a list of them; known ones have three. A larger one is a class."""

_SPELLED: dict[str, Op] = {
    r"[^\r\n\p{L}\p{N}]?\p{L}+": Letters(lead_other=True),
    r" ?\p{L}+": Letters(lead_space=True),
    r"\p{L}+": Letters(),
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+": Letters(lead_other=True, lead_other_class="l_p_s", body="L_M"),
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+": Letters(lead_other=True, body="L_M"),
    r" ?[\p{L}\p{M}]+": Letters(lead_space=True, body="L_M"),
    r"[!-/:-@\[-`{-~][A-Za-z]+": PunctAsciiLetters(),
    r"\s*[\r\n]+": NewlineBlock(),
    r"\s*[\r\n]": NewlineBlock(),  # the run's last newline ends it either way: `\s*` is greedy
    r"\s+(?!\S)": TrailingWs(),
    r"\s+": WsRun(),
}
_STAGES: dict[str, Stage] = {
    r"[0-9][0-9][0-9]": DigitTriplesIsolate(),
    r"[0-9]{3}": DigitTriplesIsolate(),
    "[\u4e00-\u9fa5\u3040-\u30ff]+": CjkIsolate(),
    r"\p{N}": DigitsIsolate("individual"),
    r"\p{N}+": DigitsIsolate("grouped"),
}
_LEAD = r"[^\r\n\p{L}\p{N}]?"


@cache
def _ops() -> dict[Node, Op]:
    return {parse_pattern(spelled): op for spelled, op in _SPELLED.items()}


@cache
def _stages() -> dict[Node, Stage]:
    return {parse_pattern(spelled): stage for spelled, stage in _STAGES.items()}


def ops_of_pattern(pattern: str) -> tuple[Op, ...] | None:
    """Return the operations that a pattern spells, or None when it holds anything else."""
    try:
        tree = parse_pattern(pattern)
    except TokenizerMapValidationError:
        return None
    return ops_of(without_commitment(tree))


def stage_of_pattern(pattern: str) -> Stage | None:
    """Return the stage of a program, but an alternation, that isolates what a pattern matches."""
    try:
        tree = without_commitment(parse_pattern(pattern))
    except TokenizerMapValidationError:
        return None
    match tree:  # Runs with a bound; one without is in the table. A lazy one takes as few as it may.
        case Repeat(Chars(chars), 1, int(most), "greedy") if chars == category("N"):
            return DigitsIsolate("grouped", most) if most <= MAX_RUN else None
    return _stages().get(tree)


def ops_of(tree: Node) -> tuple[Op, ...] | None:
    """Return the operations that a tree spells, or None."""
    ops: list[Op] = []
    literals: list[tuple[CharSet, ...]] = []
    for option in tree.options if isinstance(tree, Alternatives) else (tree,):
        # Literals in a row are one operation, which takes the longest of them.
        spelled = _literals(option)
        if spelled:
            literals += spelled
            if len(literals) > MAX_LITERAL_CHARACTERS:
                return None
            continue
        op = _ops().get(option) or _numbers(option) or _punct_run(option) or _cased(option)
        if op is None or not _add_literals(ops, literals):
            return None
        literals = []
        ops.append(op)
    if not _add_literals(ops, literals) or len(ops) > MAX_OPS:
        return None
    return tuple(ops)


def _add_literals(ops: list[Op], found: list[tuple[CharSet, ...]]) -> bool:
    """Add one operation for literals in a row; return whether there is one for them."""
    if not found:
        return True
    in_any_case = _in_any_case(found)
    if in_any_case is not None:
        ops.append(LiteralsCi(in_any_case))
        return True
    if any(prod(map(len, literal)) > MAX_CASE_FORMS for literal in found):
        return False
    exact = ["".join(form) for literal in found for form in product(*(c.characters() for c in literal))]
    # An operation takes the longest literal, a pattern the first: only in this order they are the same.
    if not _is_longest_first(exact) or sum(map(len, exact)) > MAX_LITERAL_CHARACTERS:
        return False
    ops.append(Literals(tuple(exact)))
    return True


def _in_any_case(found: list[tuple[CharSet, ...]]) -> tuple[str, ...] | None:
    """Return the literals in lower case where each takes every case form, and some have two, or None."""
    names = [name for literal in found if (name := _lower(literal)) is not None]
    cased = any(map(str.isalpha, "".join(names)))
    return tuple(names) if cased and len(names) == len(found) and _is_longest_first(names) else None


def _lower(literal: tuple[CharSet, ...]) -> str | None:
    characters = [_base(chars.characters()[0]) for chars in literal]
    pairs = zip(literal, characters, strict=True)
    complete = all(c.isascii() and chars == CharSet.of(_forms(c)) for chars, c in pairs)
    return "".join(characters) if complete else None


def _base(character: str) -> str:
    """Return the lower case of an ASCII letter in any of its forms, and any other character as it is."""
    return next(
        (base for base in "sk" if character in fold(base)),
        character.lower() if character.isascii() else character,
    )


def _forms(character: str) -> str:
    return fold(character) if character.isascii() and character.isalpha() else character


def _is_longest_first(literals: list[str]) -> bool:
    """Return whether the first literal that matches is also the longest."""
    seen: set[str] = set()
    for literal in literals:
        if any(literal[:length] in seen for length in range(1, len(literal))):
            return False
        seen.add(literal)
    return True


def _literals(node: Node) -> list[tuple[CharSet, ...]]:
    """Return the sequences of small sets that a node may match, in order; none where it is more than that.

    Every list is bounded as it grows: rows and options in each other multiply.
    """
    match node:
        case Chars(chars) if len(chars) <= MAX_LIST:
            # The case forms of a letter are one literal in any case; each other character is one of its own.
            by_base = groupby(sorted(chars.characters(), key=_base), key=_base)
            return [(CharSet.of(forms),) for _, forms in by_base]
        case Sequence(parts) if parts:  # without parts it matches the empty text, which is no literal
            row: list[tuple[CharSet, ...]] = [()]
            for found in map(_literals, parts):
                if not found or len(row) * len(found) > MAX_LITERAL_CHARACTERS:
                    return []
                row = [(*first, *second) for first in row for second in found]
            return row
        case Alternatives(options):
            listed: list[tuple[CharSet, ...]] = []
            for found in map(_literals, options):
                if not found or len(listed) + len(found) > MAX_LITERAL_CHARACTERS:
                    return []
                listed += found
            return listed
    return []


def _numbers(node: Node) -> Op | None:
    lead, rest = _split_lead(node)
    numbers = Chars(category("N"))
    if rest == numbers:
        return Numbers(max_run=1, lead_space=lead)
    match rest:
        case Repeat(body, 1, most, "greedy") if body == numbers and (most or 0) <= MAX_RUN:
            return Numbers(max_run=most or 0, lead_space=lead)
    return None


def _split_lead(node: Node) -> tuple[bool, Node]:
    """Return whether a node begins with an optional space, and the rest of it."""
    match node:
        case Sequence((Repeat(Chars(chars), 0, 1, "greedy"), *rest)) if chars == CharSet.of(" "):
            return True, sequence(rest)
    return False, node


def _punct_run(node: Node) -> Op | None:
    """Read a run of punctuation, with a space before it and some of the characters behind it."""
    lead, rest = _split_lead(node)
    after = ""
    match rest:
        case Sequence((body, Repeat(Chars(chars), 0, None, "greedy"))) if len(chars) <= MAX_LIST:
            rest, after = body, chars.characters()
    match rest:
        case Repeat(Chars(chars), 1, None, "greedy"):
            pass
        case _:
            return None
    other = ~(SPACE | category("L") | category("N"))
    symbols = category("P") | category("S")
    if chars not in (other, symbols):
        return None
    # The characters of a set come in the order of their code points; programs write `\r\n`.
    newlines = after == "\n\r"
    return PunctRun(
        lead_space=lead,
        trailing_newlines=bool(after),
        trailing_chars=None if newlines or not after else after.replace("\n\r", "\r\n"),
        charset="p_s" if chars == symbols else None,
    )


@cache
def _cased_sets() -> tuple[Node, CharSet, CharSet]:
    shared = category("Lm") | category("Lo") | category("M")
    return parse_pattern(_LEAD), category("Lu") | category("Lt") | shared, category("Ll") | shared


def _cased(node: Node) -> Op | None:
    """Read one branch of o200k's words: a capitalized word, or one in capitals, with what may follow it."""
    lead, upper, lower = _cased_sets()
    parts = list(node.parts) if isinstance(node, Sequence) else [node]
    has_lead = parts[:1] == [lead]
    parts = parts[has_lead:]  # without the lead, if there is one
    forms: dict[tuple[Node, ...], Literal["title", "upper"]] = {
        (Repeat(Chars(upper), 0, None), Repeat(Chars(lower), 1, None)): "title",
        (Repeat(Chars(upper), 1, None), Repeat(Chars(lower), 0, None)): "upper",
    }
    kind = forms.get(tuple(parts[:2])) if len(parts) in (2, 3) else None
    trailing = _trailing(parts[2:])
    if kind is None or trailing is None:
        return None
    return LettersCased(kind=kind, lead_other=has_lead, trailing_ci=trailing)


def _trailing(parts: Iterable[Node]) -> tuple[str, ...] | None:
    """Return the literals of `(?i:'s|'t)?`; none for no parts, and None for anything else."""
    for part in parts:
        match part:
            case Repeat(body, 0, 1, "greedy"):
                return _in_any_case(_literals(body))
        return None
    return ()
