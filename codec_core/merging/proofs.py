"""Proofs that tokens of the rank engine are those of the merge list: made beforehand, or as tokens occur."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from codec_core.merging.rank_engine import MergePlaces, SplitProofs


class Proofs(Protocol):
    """The test that the ranks that the engine gives for a piece are those of the merge list."""

    def cover(self, ranks: Sequence[int], token_of: Callable[[int], str | None]) -> bool:
        """Return whether every token of an answer is proven.

        `token_of` spells a rank, or is None for a single symbol.
        """


class NothingProven:
    """The proofs for a merge list that merging by rank cannot follow: there are none."""

    def cover(self, ranks: Sequence[int], token_of: Callable[[int], str | None]) -> bool:  # noqa: ARG002
        """Return False."""
        return False


class KnownProofs:
    """The proofs for a map all of whose tokens were tried beforehand, and all but a few proven."""

    def __init__(self, unproven: Iterable[int]) -> None:
        self.unproven = frozenset(unproven)

    def cover(self, ranks: Sequence[int], token_of: Callable[[int], str | None]) -> bool:  # noqa: ARG002
        """Return whether no token is unproven."""
        return self.unproven.isdisjoint(ranks)


class ProofsOnDemand:
    """The proofs for any other map, made as tokens occur. Holds at most one entry per token."""

    def __init__(self, proofs: SplitProofs) -> None:
        self._proofs = proofs
        self._proven: set[int] = set()

    def cover(self, ranks: Sequence[int], token_of: Callable[[int], str | None]) -> bool:
        """Prove the tokens that have not occurred before."""
        if self._proven.issuperset(ranks):
            return True
        for rank in set(ranks) - self._proven:
            token = token_of(rank)
            if token is not None and not self._proofs.prove(token):
                return False
            self._proven.add(rank)
        return True


def known_proofs(map_hash: str | None, places: MergePlaces) -> tuple[int, ...] | None:
    """Return the unproven ids of a known map, or None for another map.

    They are ranks too, because known maps with unproven tokens have their ids in the order of their merges.
    """
    from codec_core.merging._generated_proofs import UNPROVEN

    numbers = UNPROVEN.get(map_hash or "")
    if numbers is None or (numbers and not places.in_id_order):
        return None
    return tuple(map(int, numbers.split()))
