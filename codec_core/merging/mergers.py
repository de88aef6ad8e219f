"""Byte-pair encoding of one piece, for both kinds of vocabulary.

Both give the ids that the merge list gives. They go by tiktoken's engine where `rank_engine` proves it
equal for the tokens at hand, and by the list itself elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from typing import Protocol

from codec_core.byte_level import ALPHABET, decode_byte_level_token, encode_byte_level_chars
from codec_core.exceptions import TokenizerMapValidationError, UnencodableTextError
from codec_core.merging.by_list import check_merges, merge_symbols
from codec_core.merging.proofs import KnownProofs, NothingProven, Proofs, ProofsOnDemand, known_proofs
from codec_core.merging.rank_engine import MergePlaces, SplitProofs
from codec_core.vocabulary import METASPACE, Vocabulary

_SHORT_MARK = " "
"""Stands for U+2581 within the engine: prepared text holds no spaces, and one byte merges faster than
three."""

_WHOLE_TEXT = r"[\s\S]+"  # the pieces are cut before they come here

MAX_ENGINE_TEXT = 100_000
"""Characters that may be given to a pattern with look-ahead: the engine's stack holds an entry for each
character of a run of white space, and at 1,000,000 of them it panics."""


class Merger(Protocol):
    """Turns text into ids."""

    @property
    def missing_bytes(self) -> frozenset[int]:
        """Return the bytes without a token. They leave no id, as in the reference tokenizers."""

    @property
    def ids_of(self) -> Callable[[str], tuple[int, ...]]:
        """Return the function from a piece to its ids."""

    @property
    def ids_of_text(self) -> Callable[[str], list[int] | None]:
        """Return the function from a whole text to its ids, or to None where it has to be cut first."""


class MergeList:
    """The merges of a map that can take part in encoding ordinary text.

    A merge that makes a control token is left out: ordinary text never becomes one. So is one that makes a
    token which the model's own vocabulary does not have.

    Attributes:
        result_ids: the id that each of the merges makes, in order.
        places: where each token's merges stand.
        may_use_ranks: whether merging by rank is worth a proof.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._stated = vocabulary.map.merges or ()
        self._ids = vocabulary.map.vocab or vocabulary.ordinary()
        self._unmerged = vocabulary.special_ids | _ids_of(vocabulary.unmerged, vocabulary.map.vocab)
        self._unmerged_names = vocabulary.unmerged
        self._base = ALPHABET if vocabulary.map.encoder == "byte_level" else None
        merges = list(self._stated)
        check_merges(merges)
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
        """Return the merges in order; not kept here, because most maps need them once."""
        if not self._makes_unmerged:
            return list(self._stated)
        return [merge for merge in self._stated if self._ids[merge.replace(" ", "")] not in self._unmerged]

    def _is_plain(self, merges: list[str]) -> bool:
        """Tell whether merging by rank is worth a proof.

        It is not where a pair is listed twice with others between, or where a single character that texts are
        spelled with takes part in no merge.
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

        In the first case a token that no merge makes has a rank too, though the engine never makes it: the
        proof then fails where it might have held, which costs time only.
        """
        if self.places.in_id_order:
            return self._ids.get
        places = {number: place for place, number in reversed(list(enumerate(self.result_ids)))}
        ranks = {token: -1 for token in self._ids if len(token) == 1}
        ranks.update((token, places[number]) for token, number in self._ids.items() if number in places)
        return ranks.get

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Return each merge's place; a merge that is listed twice counts where it stands last."""
        return {merge: place for place, merge in enumerate(self.merges)}


class ByteLevelMerger:
    """Encodes text over GPT-2's byte alphabet: pieces, and where a pattern is given, texts in one call."""

    def __init__(self, vocabulary: Vocabulary, pattern: str | None = None) -> None:
        self._vocabulary = vocabulary
        self._pattern = pattern
        self._list = merges = MergeList(vocabulary)
        base = [merges.id_of(character) for character in ALPHABET]
        _refuse_lost_bytes(vocabulary, base)
        self.missing_bytes = frozenset(byte for byte, number in enumerate(base) if number is None)
        self._base = base
        self._unreachable = self._find_unreachable() if vocabulary.facts.ignore_merges else {}
        self._proofs = proofs_of(merges, vocabulary.hash)

    @cached_property
    def ids_of_text(self) -> Callable[[str], list[int] | None]:
        """Return the function from a whole text to its ids, or to None where it has to be cut first."""
        # A piece that is a token no merge makes is not told from others within a text.
        if self._pattern is None or self._unreachable or isinstance(self._proofs, NothingProven):
            return _cut_first
        encode, is_exact = self._encode, self._is_exact

        def ids_of_text(text: str) -> list[int] | None:
            if len(text) > MAX_ENGINE_TEXT:
                return None
            ids = encode(text)
            return ids if is_exact(ids) else None

        return ids_of_text

    @cached_property
    def ids_of(self) -> Callable[[str], tuple[int, ...]]:
        """Return the function from a piece to its ids.

        It runs for every piece that a text brings for the first time, and looking up attributes would be a
        third of its time.
        """
        encode, by_list, is_exact = self._encode, self._ids_by_list, self._is_exact
        unreachable, skips_merges = self._unreachable, self._vocabulary.facts.ignore_merges

        def ids_of(piece: str) -> tuple[int, ...]:
            if piece in unreachable:
                return (unreachable[piece],)
            ids = encode(piece) if len(piece) <= MAX_ENGINE_TEXT else self._encode_whole(piece)
            if is_exact(ids) or (skips_merges and len(ids) == 1):
                return tuple(ids)
            return by_list(piece)

        return ids_of

    @cached_property
    def _is_exact(self) -> Callable[[Sequence[int]], bool]:
        """Return what tells whether the engine's ids are those of the list."""
        if isinstance(self._proofs, KnownProofs):
            unproven = self._proofs.unproven
            return unproven.isdisjoint if unproven else lambda _: True
        token_of, cover = self._vocabulary.raw_token, self._proofs.cover
        return lambda ids: cover(ids, token_of)

    def _ids_by_list(self, piece: str) -> tuple[int, ...]:
        spelled = encode_byte_level_chars(piece.encode())
        if self._vocabulary.facts.ignore_merges and (whole := self._list.id_of(spelled)) is not None:
            return (whole,)
        known = [c if self._list.id_of(c) is not None else "\0" for c in spelled]
        ids = map(self._list.id_of, merge_symbols(known, self._list.ranks))
        return tuple(number for number in ids if number is not None)

    def _find_unreachable(self) -> dict[str, int]:
        """Return the tokens that no merge makes, as text; one that is no text of its own is no piece."""
        made = {*self._list.result_ids, *self._base}
        ordinary = self._vocabulary.ordinary().items()
        found: dict[str, int] = {}
        for token, number in ordinary:
            text = None if number in made else _as_text(decode_byte_level_token(token))
            if text is not None:
                found[text] = number
        return found

    @cached_property
    def _encode(self) -> Callable[[str], list[int]]:
        """Return the engine of texts and of their pieces, or of pieces alone."""
        return self._engine(self._pattern) if self._pattern else self._encode_whole

    @cached_property
    def _encode_whole(self) -> Callable[[str], list[int]]:
        """Return the engine that takes anything for one piece."""
        return self._engine(_WHOLE_TEXT)

    def _engine(self, pattern: str) -> Callable[[str], list[int]]:
        """Return tiktoken's merging, answering with ids of the vocabulary."""
        vocabulary, size = self._vocabulary, self._vocabulary.size
        in_order = self._list.places.in_id_order
        order = self._list.result_ids if in_order else list(dict.fromkeys(self._list.result_ids))
        ids = order if in_order else range(len(order))
        spell = vocabulary.token_bytes
        ranks = {spell(token_id): rank for rank, token_id in zip(ids, order, strict=True)}
        stand_ins = range(size, size + 256)
        for byte, token_id in enumerate(self._base):
            rank = token_id if in_order and token_id is not None else stand_ins[byte]
            ranks[bytes((byte,))] = rank
        encode = engine(ranks, pattern)
        if in_order:
            return _without(stand_ins, encode) if self.missing_bytes else encode
        real = [*order, *[0] * (size - len(order)), *(-1 if n is None else n for n in self._base)]
        return lambda text: [number for number in map(real.__getitem__, encode(text)) if number >= 0]


def _without(stand_ins: range, encode: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """Return the encoding that leaves out what stands for bytes without a token."""
    lacks_none = frozenset(stand_ins).isdisjoint

    def encode_known(text: str) -> list[int]:
        ids = encode(text)
        return ids if lacks_none(ids) else [number for number in ids if number not in stand_ins]

    return encode_known


class RankedCharacters:
    """What the engine merges for a metaspace vocabulary, and the ids that each rank stands for.

    Attributes:
        ranks: the rank of each sequence of bytes, until the engine takes them.
        single: by rank, the one id that it stands for, or None where it stands for several or none.
        first_merged: the first rank that a merge of the list makes.
    """

    def __init__(self) -> None:
        self.ranks: dict[bytes, int] = {}
        self.single: list[int | None] = []
        self.first_merged = 0
        self._several: dict[int, tuple[int, ...]] = {}

    def add(self, data: bytes, ids: tuple[int, ...]) -> None:
        """Give the next rank to some bytes."""
        rank = self.ranks[data] = len(self.single)
        self.single.append(ids[0] if len(ids) == 1 else None)
        if len(ids) != 1:
            self._several[rank] = ids

    def ids_of(self, rank: int) -> tuple[int, ...]:
        """Return the ids that a rank stands for."""
        number = self.single[rank]
        return self._several[rank] if number is None else (number,)

    @cached_property
    def encode(self) -> Callable[[str], list[int]]:
        """Return the engine; from then on `ranks` is empty."""
        return engine(self.ranks)


class MetaspaceMerger:
    """Encodes pieces of text in which U+2581 stands for spaces, with bytes for characters without a token.

    tiktoken merges bytes, the list merges characters. So the characters are put together first, by merges
    that rank before all others; what is left of unknown characters are the bytes to fall back to.
    """

    missing_bytes: frozenset[int] = frozenset()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._list = MergeList(vocabulary)
        self._fallback = vocabulary.byte_fallback
        self._proofs = proofs_of(self._list, vocabulary.hash)

    def ids_of_text(self, text: str) -> None:
        """Return None: a text has to be cut before its pieces are merged."""
        return _cut_first(text)

    def ids_of(self, piece: str) -> tuple[int, ...]:
        """Return the ids of a piece.

        Raises:
            UnencodableTextError: a character has no token and the vocabulary no bytes to fall back to.
        """
        ranked = self._ranked
        ranks = ranked.encode(piece.replace(METASPACE, _SHORT_MARK))
        if not (self._fallback and self._proofs.cover(ranks, self._token_of)):
            return self._ids_by_list(piece)
        ids = tuple(map(ranked.single.__getitem__, ranks))
        if None not in ids:
            return ids  # type: ignore[return-value] # just looked
        return tuple(chain.from_iterable(map(ranked.ids_of, ranks)))

    def is_known(self, character: str) -> bool:
        """Tell whether a character has a token of its own."""
        return self._list.id_of(character) is not None

    def joinable(self) -> list[str]:
        """Return the tokens that merges make."""
        return list(map(self._vocabulary.raw_token, dict.fromkeys(self._list.result_ids)))

    def _ids_by_list(self, piece: str) -> tuple[int, ...]:
        symbols = [c if self.is_known(c) else "\0" + c for c in piece]
        ids: list[int] = []
        for symbol in merge_symbols(symbols, self._list.ranks):
            if not symbol.startswith("\0"):
                ids.append(self._list.id_of(symbol) or 0)
            elif self._fallback:
                ids.extend(self._fallback[byte] for byte in symbol[1:].encode())
            else:
                raise UnencodableTextError(
                    f"vocabulary {self._vocabulary.id} has no token for {symbol[1:]!r}, nor for its bytes"
                )
        return tuple(ids)

    def _token_of(self, rank: int) -> str | None:
        ranked = self._ranked
        number = ranked.single[rank] if rank >= ranked.first_merged else None
        return None if number is None else self._vocabulary.raw_token(number)

    @cached_property
    def _ranked(self) -> RankedCharacters:
        ranked = RankedCharacters()
        for byte in range(256):
            data = bytes((byte,))
            character = METASPACE if byte == ord(_SHORT_MARK) else chr(byte)
            known = self._list.id_of(character) if byte < 128 else None
            ranked.add(data, (known,) if known is not None else self._fallback_ids(data))
        for character in self._known_characters():
            data = character.encode()
            for length in range(2, len(data)):
                if data[:length] not in ranked.ranks:
                    ranked.add(data[:length], self._fallback_ids(data[:length]))
            token_id = self._list.id_of(character)
            assert token_id is not None
            ranked.add(data, (token_id,))
        ranked.first_merged = len(ranked.single)
        for token_id in dict.fromkeys(self._list.result_ids):
            token = self._vocabulary.raw_token(token_id)
            ranked.add(token.replace(METASPACE, _SHORT_MARK).encode(), (token_id,))
        return ranked

    def _known_characters(self) -> list[str]:
        vocab = self._vocabulary.map.vocab or self._vocabulary.ordinary()
        return [
            token
            for token in vocab
            if len(token) == 1 and not token.isascii() and token != METASPACE and self.is_known(token)
        ]

    def _fallback_ids(self, data: bytes) -> tuple[int, ...]:
        return tuple(self._fallback[byte] for byte in data) if self._fallback else ()


def _refuse_lost_bytes(vocabulary: Vocabulary, base: Sequence[int | None]) -> None:
    """Refuse a vocabulary that can spell a byte by a control token alone: content would lose the byte.

    Raises:
        TokenizerMapValidationError: names the token.
    """
    for byte, number in enumerate(base):
        name = ALPHABET[byte]
        if number is None and name in vocabulary.special_tokens:
            raise TokenizerMapValidationError(
                f"special_tokens: {name!r} (id {vocabulary.special_tokens[name]}) is the only token of byte "
                f"{byte:#04x}; as a control token no text could hold it: leave it out of special_tokens"
            )


def _ids_of(names: Iterable[str], vocab: Mapping[str, int] | None) -> set[int]:
    return {vocab[name] for name in names if name in vocab} if vocab else set()


def _cut_first(text: str) -> None:
    """Answer that a text has to be cut before its pieces are merged."""


def _as_text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def proofs_of(merges: MergeList, map_hash: str | None) -> Proofs:
    """Return what is known of a map's tokens: all of them for a known map, else what will be proven."""
    if not merges.may_use_ranks:
        return NothingProven()
    unproven = known_proofs(map_hash, merges.places)
    if unproven is not None:
        return KnownProofs(unproven)
    return ProofsOnDemand(SplitProofs(merges.merges, merges.places, merges.rank_of))


def engine(ranks: dict[bytes, int], pattern: str = _WHOLE_TEXT) -> Callable[[str], list[int]]:
    """Return a function from a text to the ranks of the pieces that a pattern finds in it.

    It merges the lowest rank first, and passes over what the pattern does not take. The ranks become the
    engine's: the dict is empty afterwards.
    """
    import tiktoken  # a tenth of the time that importing this package takes, and only encoding needs it

    encoding = tiktoken.Encoding("pieces", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # the engine has its own tables; this dict would stay with it, a third of its memory
    return encoding.encode_ordinary
