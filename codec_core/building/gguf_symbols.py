"""The order in which llama.cpp finds user-defined tokens in text.

It looks for the longest name first, wherever it is, then for the next one in what is left. Maps, as other
tokenizers, have the leftmost first. Both find the same unless a name begins within another one before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from codec_core.exceptions import MapBuildError

MAX_PAIRS = 2**20
"""Pairs of names that are looked at; those of Gemma, with runs of up to 31 of a character, are 30,000."""

MAX_LENGTH = 256
"""Characters of a name. Each place in it is looked up, so the work grows with the square of its length; names
are words in brackets, and runs of a few dozen spaces."""


def check_order(names: Iterable[str], most: int = MAX_PAIRS) -> None:
    """Refuse names of which the leftmost in a text may not be the first that llama.cpp finds.

    Args:
        names: the user-defined tokens.
        most: pairs of them that are looked at.

    Raises:
        MapBuildError: a text in which they differ, a name that is longer than `MAX_LENGTH`, or there are too
            many pairs to tell.
    """
    ordered = sorted(set(names))
    left = most
    if (longest := max(map(len, ordered), default=0)) > MAX_LENGTH:
        raise MapBuildError(
            f"a user-defined token has {longest} characters; of more than {MAX_LENGTH} a build does not tell "
            "the order in which llama.cpp finds them"
        )
    for name in ordered:
        for start in range(1, len(name)):
            shared = name[start:]
            for place in range(bisect_left(ordered, shared), len(ordered)):
                other = ordered[place]
                if not other.startswith(shared):
                    break
                left -= 1
                if left < 0:
                    raise MapBuildError("too many user-defined tokens begin as others end")
                if _is_before(other, name):
                    raise MapBuildError(
                        f"of the user-defined tokens {name!r} and {other!r} llama.cpp finds the second first "
                        f"in {name + other[len(shared) :]!r}, which a map cannot say"
                    )


def _is_before(other: str, name: str) -> bool:
    """Return whether llama.cpp may look for another name before this one."""
    # It sorts by the bytes of names, and leaves open which of two with as many comes first.
    if len(other.encode()) < len(name.encode()) or other == name:
        return False
    return len(set(name + other)) > 1  # runs of one character: both find the longest
