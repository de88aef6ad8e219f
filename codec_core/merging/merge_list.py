"""The merges of a map, and the engine that applies them where that is proven exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Protocol

from codec_core.byte_level import ALPHABET
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.merging.by_list import check_merges
from codec_core.merging.proofs import KnownProofs, NothingProven, Proofs, ProofsOnDemand, known_proofs
from codec_core.merging.rank_engine import MergePlaces, SplitProofs
from codec_core.vocabulary import Vocabulary

WHOLE_TEXT = r"[\s\S]+"
"""The engine's pattern for pieces, which are cut already."""


class Merger(Protocol):
    """Turns text into ids."""

    @property
    def missing_bytes(self) -> frozenset[int]:
        """Return the bytes without a token. They give no id, as in the reference tokenizers."""

    @property
    def ids_of(self) -> Callable[[str], tuple[int, ...]]:
        """Return the function from a piece to its ids."""

    @property
    def ids_of_text(self) -> Callable[[str], list[int] | None]:
        """Return the function from a whole text to its ids, or to None if it has to be cut first."""


class MergeList:
    """The merges of a map that can take part in encoding ordinary text.

    A merge that makes a control token is left out: ordinary text never becomes one. So is one that makes a
    token which the model's own vocabulary does not have.

    Attributes:
        result_ids: the id that each of the merges makes, in order.
        places: the places of each token's merges in the list.
        may_use_ranks: whether merging by rank is worth a proof.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._stated = vocabulary.map.merges or ()
        self._ids = vocabulary.map.vocab or vocabulary.ordinary()  # maps of version 1 have no `vocab`
        self._unmerged = vocabulary.special_ids | _ids_of(vocabulary.unmerged, vocabulary.map.vocab)
        self._unmerged_names = vocabulary.unmerged
        self._base = ALPHABET if vocabulary.map.encoder == "byte_level" else None
        merges = list(self._stated)
        check_merges(merges)
        # Mapped without a loop in Python: a map has up to half a million merges.
        ids = list(map(self._ids.get, map(str.replace, merges, repeat(" "), repeat(""))))
        if None in ids:
            at = ids.index(None)
            raise TokenizerMapValidationError(f"merges: {merges[at]!r} makes a token that is not in vocab")
        numbers = [number for number in ids if number is not None]
        self._makes_unmerged = not self._unmerged.isdisjoint(numbers)
        self.result_ids: list[int] = [n for n in numbers if n not in self._unmerged]
        self.places = MergePlaces(self.result_ids)
        self.may_use_ranks = self._is_plain(merges)

    @property
    def merges(self) -> Sequence[str]:
        """Return the merges in order. They are not kept, because most maps need them once."""
        if not self._makes_unmerged:
            return list(self._stated)
        return [merge for merge in self._stated if self._ids[merge.replace(" ", "")] not in self._unmerged]

    def _is_plain(self, merges: list[str]) -> bool:
        """Return whether merging by rank is worth a proof.

        It is not where a pair is listed twice with others between, or where a character that texts are
        spelled with takes part in no merge: the engine would merge it all the same.
        """
        base = self._base
        if any(len(name) == 1 and (base is None or name in base) for name in self._unmerged_names):
            return False
        return self.places.in_id_order or len(set(merges)) == len(merges)

    def id_of(self, token: str) -> int | None:
        """Return the id of an ordinary token."""
        token_id = self._ids.get(token)
        return None if token_id in self._unmerged else token_id

    @cached_property
    def rank_of(self) -> Callable[[str], int | None]:
        """Return the rank of a token in the engine: its id, or the place of its first merge.

        In the first case a token that no merge makes has a rank too, although the engine never makes it. A
        proof may then fail that would hold, which costs only time.
        """
        if self.places.in_id_order:
            return self._ids.get
        # Reversed, so that of a token's merges the first one stays.
        places = {number: place for place, number in reversed(list(enumerate(self.result_ids)))}
        # Characters exist before the first merge; those that a merge makes get its place below.
        ranks = {token: -1 for token in self._ids if len(token) == 1}
        ranks.update((token, places[number]) for token, number in self._ids.items() if number in places)
        return ranks.get

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Return each merge's place; of a merge that is listed twice, the last place."""
        return {merge: place for place, merge in enumerate(self.merges)}


def _ids_of(names: Iterable[str], vocab: Mapping[str, int] | None) -> set[int]:
    return {vocab[name] for name in names if name in vocab} if vocab else set()


def proofs_of(merges: MergeList, map_hash: str | None) -> Proofs:
    """Return the proofs for a map's tokens: made beforehand for a known map, else made as tokens occur."""
    if not merges.may_use_ranks:
        return NothingProven()
    unproven = known_proofs(map_hash, merges.places)
    if unproven is not None:
        return KnownProofs(unproven)
    return ProofsOnDemand(SplitProofs(merges.merges, merges.places, merges.rank_of))


def engine(ranks: dict[bytes, int], pattern: str = WHOLE_TEXT) -> Callable[[str], list[int]]:
    """Return a function from a text to the ranks of the pieces that a pattern finds in it.

    It merges the lowest rank first, and skips text that the pattern does not match. The dict of ranks is
    empty afterwards.
    """
    import tiktoken  # takes a tenth of the time to import this package, and only encoding needs it

    encoding = tiktoken.Encoding("pieces", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # the engine has tables of its own but keeps this dict, a third of its memory
    return encoding.encode_ordinary
