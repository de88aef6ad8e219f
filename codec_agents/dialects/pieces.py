"""Pieces of prompts: strings in which declared markers are control tokens and `{name}` is a hole.

Only a dialect's own strings are read like this. Whatever fills a hole is encoded as ordinary text, so it
can never become a marker, whatever it spells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from codec_agents.graph.templates import Slot, parse_template


@dataclass(frozen=True, slots=True)
class Marker:
    """A control token by its name in the map."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that is encoded as ordinary ids."""

    text: str


@dataclass(frozen=True, slots=True)
class Hole:
    """Where something is put in; inside the quotes of a JSON string it is escaped."""

    name: str
    in_json: bool = False


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids made beforehand."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A piece whose place among the ids is asked for."""

    piece: Literal | Ids


Piece: TypeAlias = Marker | Literal | Hole | Ids | Told


def parse_pieces(form: str, markers: Iterable[str], holes: Sequence[str] = ()) -> list[Piece]:
    """Split a dialect's string into markers, literal texts and the named holes.

    Markers that are not in `markers` stay literal text. Longer markers win over their own prefixes.
    """
    known = frozenset(markers)
    if not known and not holes:
        return [Literal(form)] if form else []
    parts = _cutter(known, tuple(holes)).split(form)
    return [_piece(part, position, known) for position, part in enumerate(parts) if part]


# A dialect's strings are many and its markers the same for all; 512 is some ten times the families.
@lru_cache(512)
def _cutter(markers: frozenset[str], holes: tuple[str, ...]) -> re.Pattern[str]:
    names = sorted(markers, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, [*names, *(f'{{{hole}}}' for hole in holes)]))})")


def _piece(part: str, position: int, markers: frozenset[str]) -> Piece:
    if position % 2 == 0:
        return Literal(part)
    return Marker(part) if part in markers else Hole(part[1:-1])


def template_pieces(template: str) -> list[Piece]:
    """Return the pieces of a declared text: its slots are holes, everything else is text."""
    return [
        Hole(part.name) if isinstance(part, Slot) else Literal(part.text) for part in parse_template(template)
    ]


def fill(pieces: Iterable[Piece], fillings: Mapping[str, Sequence[Piece]]) -> list[Piece]:
    """Return the pieces with each hole replaced by what fills it."""
    filled: list[Piece] = []
    for piece in pieces:
        filled += fillings[piece.name] if isinstance(piece, Hole) else [piece]
    return filled


def join_literals(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbouring texts, so that they are encoded as one: a tokenizer's pieces cross their seams."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Literal) and joined and isinstance(joined[-1], Literal):
            joined[-1] = Literal(joined[-1].text + piece.text)
        elif not (isinstance(piece, Literal) and not piece.text):
            joined.append(piece)
    return joined
