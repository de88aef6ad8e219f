"""A regular expression as a tree: what every pattern becomes before anything is done with it.

Trees are made by the functions here, which keep them plain: a sequence holds no sequences, single characters
that may take each other's place are one set, and what a look-ahead at one character demands of the next is
part of that character's set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from codec_core.unicode.charsets import ANYTHING, NOTHING, CharSet


class Chars(NamedTuple):
    """One character of a set."""

    set: CharSet


class Sequence(NamedTuple):
    """Nodes in a row. The empty sequence matches the empty text everywhere."""

    parts: tuple[Node, ...]


class Alternatives(NamedTuple):
    """A choice: the first option that leads to a match."""

    options: tuple[Node, ...]


class Repeat(NamedTuple):
    """A repetition: as often as possible, as seldom as possible, or as often as possible for good."""

    body: Node
    least: int
    most: int | None
    kind: Literal["greedy", "lazy", "possessive"] = "greedy"


class Look(NamedTuple):
    """A look-ahead: the body follows, or does not. It takes no characters."""

    body: Node
    negative: bool


class Atomic(NamedTuple):
    """A group that keeps its first match for good."""

    body: Node


Node = Chars | Sequence | Alternatives | Repeat | Look | Atomic

EMPTY = Sequence(())


def sequence(parts: Iterable[Node]) -> Node:
    """Return nodes in a row."""
    flat: list[Node] = []
    for part in parts:
        for node in part.parts if isinstance(part, Sequence) else (part,):
            _append(flat, node)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def _append(flat: list[Node], node: Node) -> None:
    """Add a node; what was demanded of the next character becomes part of its set."""
    while isinstance(node, Chars) and flat and isinstance(look := flat[-1], Look):
        if not isinstance(look.body, Chars):
            break
        node = Chars(node.set - look.body.set if look.negative else node.set & look.body.set)
        flat.pop()
    flat.append(node)


def alternatives(options: Iterable[Node]) -> Node:
    """Return a choice between nodes; neighbours that are single characters are one set."""
    flat: list[Node] = []
    for option in options:
        for node in option.options if isinstance(option, Alternatives) else (option,):
            if flat and isinstance(node, Chars) and isinstance(flat[-1], Chars):
                flat[-1] = Chars(flat[-1].set | node.set)
            else:
                flat.append(node)
    return flat[0] if len(flat) == 1 else Alternatives(tuple(flat))


def repeat(
    body: Node, least: int, most: int | None, kind: Literal["greedy", "lazy", "possessive"] = "greedy"
) -> Node:
    """Return a repetition; once is the node itself, and a run of short runs of a set is a run."""
    match body:
        case Repeat(Chars(), 1, _, "greedy") if (least, most, kind) == (1, None, "greedy"):
            body = body.body
    return body if (least, most) == (1, 1) else Repeat(body, least, most, kind)


def is_nullable(node: Node) -> bool:
    """Return whether a node matches the empty text at every place, whatever follows."""
    match node:
        case Chars() | Look():
            return False
        case Sequence(parts):
            return all(map(is_nullable, parts))
        case Alternatives(options):
            return any(map(is_nullable, options))
        case Repeat(body, least):
            return least == 0 or is_nullable(body)
        case Atomic(body):
            return is_nullable(body)


def may_be_empty(node: Node) -> bool:
    """Return whether a node may match the empty text somewhere."""
    match node:
        case Chars():
            return False
        case Look():
            return True
        case Sequence(parts):
            return all(map(may_be_empty, parts))
        case Alternatives(options):
            return any(map(may_be_empty, options))
        case Repeat(body, least):
            return least == 0 or may_be_empty(body)
        case Atomic(body):
            return may_be_empty(body)


def next_characters(node: Node) -> CharSet:
    """Return a set that the next character is in where the node matches, if there is a next one."""
    match node:
        case Chars(chars):
            return chars
        case Look(Chars(chars), negative):
            return ~chars if negative else chars
        case Look():
            return ANYTHING
        case Sequence(parts):
            return _next_in_row(parts)
        case Alternatives(options):
            found = NOTHING
            for option in options:
                found |= next_characters(option)
            return found
        case Repeat(body, least):
            return next_characters(body) if least else ANYTHING
        case Atomic(body):
            return next_characters(body)


def _next_in_row(parts: tuple[Node, ...]) -> CharSet:
    following = ANYTHING
    for part in reversed(parts):  # no recursion: a row may have thousands of parts
        following = _next_before(part, following)
    return following


def _next_before(node: Node, following: CharSet) -> CharSet:
    """Return the next characters of a node, given those of what comes after it."""
    if isinstance(node, Look):
        return next_characters(node) & following
    if isinstance(node, Repeat) and node.least == 0:
        return next_characters(node.body) | following
    return next_characters(node) | following if may_be_empty(node) else next_characters(node)


def without_commitment(node: Node, *, settles: bool = True, following: CharSet = ANYTHING) -> Node:
    """Return the node without possessive repetitions and atomic groups, where they change nothing.

    What a possessive repetition of a set keeps can never be given back with success where what comes after
    it needs a character outside the set. And what matches at once, whatever follows, is never gone back on.
    Elsewhere such a repetition is spelled by the run that it takes whole.

    Args:
        node: the node.
        settles: whether what comes after it matches at once, whatever follows.
        following: the next characters of what comes after it.
    """
    match node:
        case Sequence(parts):
            plain: list[Node] = []
            for part in reversed(parts):  # what comes after a part decides about it
                plain.append(without_commitment(part, settles=settles, following=following))
                settles = settles and is_nullable(plain[-1])
                following = _next_before(plain[-1], following)
            return sequence(reversed(plain))
        case Alternatives(options):
            return alternatives(
                without_commitment(option, settles=settles, following=following) for option in options
            )
        case Repeat(Chars(chars), least, most, "possessive"):
            keeps = settles or not following & chars
            return Repeat(Chars(chars), least, most) if keeps else _whole_run(chars, least, most)
        case Repeat(body, least, most, "possessive") if settles:
            # A round that need not be is never a reason to go back into the one before; a second one that
            # must be is.
            return Repeat(without_commitment(body, settles=least <= 1), least, most)
        case Atomic(body) if settles or isinstance(body, Chars):
            return without_commitment(body)
    # The body of a greedy or lazy repetition may be gone back into, and what comes after it is a further
    # round as well. What keeps in there, or in a look-ahead, is left as it is, and `PatternCode` refuses it:
    # no text is cut otherwise than the pattern says.
    return node


def _whole_run(chars: CharSet, least: int, most: int | None) -> Node:
    """Return a possessive repetition of a set: it ends where the run does, or with the most it may take."""
    ends = Look(Chars(chars), negative=True)
    if most is None:
        return sequence([Repeat(Chars(chars), least, None), ends])
    fewer = [] if most == least else [sequence([repeat(Chars(chars), least, most - 1), ends])]
    return alternatives([repeat(Chars(chars), most, most), *fewer])
