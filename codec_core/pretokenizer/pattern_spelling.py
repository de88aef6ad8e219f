"""Spell a tree as a pattern for `re`, over the classes of one fixed Unicode version."""

from __future__ import annotations

from codec_core.pretokenizer.pattern_tree import Alternatives, Atomic, Chars, Look, Node, Repeat, Sequence
from codec_core.unicode.charsets import LAST

_KINDS = {"greedy": "", "lazy": "?", "possessive": "+"}


def spell(node: Node, last: int = LAST) -> str:
    """Return the pattern, for texts without characters behind a last one."""
    match node:
        case Chars(chars):
            return chars.spell(last)
        case Sequence(parts):
            return "".join(spell_part(part, last) for part in parts)
        case Alternatives(options):
            return "|".join(spell(option, last) for option in options)
        case Repeat(body, least, most, kind):
            inner = spell(body, last) if isinstance(body, Chars) else f"(?:{spell(body, last)})"
            return inner + _bounds(least, most) + _KINDS[kind]
        case Look(body, negative):
            return f"(?{'!' if negative else '='}{spell(body, last)})"
        case Atomic(body):
            return f"(?>{spell(body, last)})"


def spell_part(node: Node, last: int) -> str:
    """Return the pattern of a part of a sequence."""
    spelled = spell(node, last)
    return f"(?:{spelled})" if isinstance(node, Alternatives) else spelled


def _bounds(least: int, most: int | None) -> str:
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return "?" if (least, most) == (0, 1) else f"{{{least},{most}}}"
