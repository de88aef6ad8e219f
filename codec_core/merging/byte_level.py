"""Byte-pair encoding over GPT-2's byte alphabet.

The ids are those that the merge list gives. They come from tiktoken's engine where `rank_engine` proves it
equal for the tokens at hand, and from the list itself elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from codec_core.byte_level import ALPHABET, decode_byte_level_token, encode_byte_level_chars
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.merging.by_list import UNKNOWN, merge_symbols
from codec_core.merging.merge_list import WHOLE_TEXT, MergeList, engine, proofs_of
from codec_core.merging.proofs import KnownProofs, NothingProven
from codec_core.vocabulary import Vocabulary

MAX_ENGINE_TEXT = 100_000
"""The most characters that are given to a pattern with look-ahead. The engine's stack holds an entry for each
character of a run of white space, and at 1,000,000 of them it panics."""


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
        """Return the function from a whole text to its ids, or to None if it has to be cut first."""
        # With tokens that no merge makes, each piece has to be looked up, so the text has to be cut.
        if self._pattern is None or self._unreachable or isinstance(self._proofs, NothingProven):
            return _cut_first
        encode, is_exact, missing = self._encode, self._is_exact, bytes(self.missing_bytes)

        def ids_of_text(text: str) -> list[int] | None:
            if len(text) > MAX_ENGINE_TEXT or (missing and _holds_any(text, missing)):
                return None
            ids = encode(text)
            return ids if is_exact(ids) else None

        return ids_of_text

    @cached_property
    def ids_of(self) -> Callable[[str], tuple[int, ...]]:
        """Return the function from a piece to its ids.

        It is a closure because it runs for every new piece, and attribute lookups would be a third of its
        time.
        """
        encode, by_list, is_exact = self._encode, self._ids_by_list, self._is_exact
        unreachable, skips_merges = self._unreachable, self._vocabulary.facts.ignore_merges
        missing = bytes(self.missing_bytes)

        def ids_of(piece: str) -> tuple[int, ...]:
            if piece in unreachable:
                return (unreachable[piece],)
            # Whether ids merge across a byte without a token differs by map; only the list respects that.
            if missing and _holds_any(piece, missing):
                return by_list(piece)
            ids = encode(piece) if len(piece) <= MAX_ENGINE_TEXT else self._encode_whole(piece)
            # The engine gives a piece that is a token as that one id, as maps with `ignore_merges` ask.
            if is_exact(ids) or (skips_merges and len(ids) == 1):
                return tuple(ids)
            return by_list(piece)

        return ids_of

    @cached_property
    def _is_exact(self) -> Callable[[Sequence[int]], bool]:
        """Return the test that the engine's ids are those of the list."""
        if isinstance(self._proofs, KnownProofs):
            unproven = self._proofs.unproven
            return unproven.isdisjoint if unproven else lambda _: True
        token_of, cover = self._vocabulary.raw_token, self._proofs.cover
        return lambda ids: cover(ids, token_of)

    def _ids_by_list(self, piece: str) -> tuple[int, ...]:
        spelled = encode_byte_level_chars(piece.encode())
        if self._vocabulary.facts.ignore_merges and (whole := self._list.id_of(spelled)) is not None:
            return (whole,)
        known = [c if self._list.id_of(c) is not None else UNKNOWN for c in spelled]
        if self._vocabulary.map.missing_bytes != "apart":
            known = [c for c in known if c != UNKNOWN]  # what is on both sides merges, as in the reference
        ids = map(self._list.id_of, merge_symbols(known, self._list.ranks))
        return tuple(number for number in ids if number is not None)

    def _find_unreachable(self) -> dict[str, int]:
        """Return the tokens that no merge makes, by their text. Bytes that are not text are never a piece."""
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
        """Return the engine for texts and pieces, or for pieces alone."""
        return self._engine(self._pattern) if self._pattern else self._encode_whole

    @cached_property
    def _encode_whole(self) -> Callable[[str], list[int]]:
        """Return the engine that takes any text as one piece."""
        return self._engine(WHOLE_TEXT)

    def _engine(self, pattern: str) -> Callable[[str], list[int]]:
        """Return tiktoken's engine, from text to ids of the vocabulary."""
        # Where the ids rise with the list, they are the engine's ranks, and its answer needs no translation.
        vocabulary, size = self._vocabulary, self._vocabulary.size
        in_order = self._list.places.in_id_order
        # A token that several merges make has the rank of the first one. In order that is its id each time;
        # of places, the last one would replace the first in `ranks`.
        order = self._list.result_ids if in_order else list(dict.fromkeys(self._list.result_ids))
        ids = order if in_order else range(len(order))
        spell = vocabulary.token_bytes
        ranks = {spell(token_id): rank for rank, token_id in zip(ids, order, strict=True)}
        # The engine needs a rank for each byte. In order it is the byte's id, and stand-ins are those of
        # bytes without a token, which `_without` drops. Elsewhere an id could be the place of a merge, so
        # every byte has a stand-in, and `real` has the id for it.
        stand_ins = range(size, size + 256)
        for byte, token_id in enumerate(self._base):
            rank = token_id if in_order and token_id is not None else stand_ins[byte]
            ranks[bytes((byte,))] = rank
        encode = engine(ranks, pattern)
        if in_order:
            return _without(stand_ins, encode) if self.missing_bytes else encode
        # By rank: the ids of merges, a gap up to the stand-ins, and the ids of bytes, -1 where there is none.
        real = [*order, *[0] * (size - len(order)), *(-1 if n is None else n for n in self._base)]
        return lambda text: [number for number in map(real.__getitem__, encode(text)) if number >= 0]


def _without(stand_ins: range, encode: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """Return the encoding without the ranks of bytes that have no token."""
    lacks_none = frozenset(stand_ins).isdisjoint

    def encode_known(text: str) -> list[int]:
        ids = encode(text)
        return ids if lacks_none(ids) else [number for number in ids if number not in stand_ins]

    return encode_known


def _holds_any(text: str, some: bytes) -> bool:
    data = text.encode()
    return len(data.translate(None, some)) != len(data)


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


def _cut_first(text: str) -> None:
    """Return None: a text has to be cut before its pieces are merged."""


def _as_text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
