"""Text to ids, equal to the model's own tokenizer.

`encode` reads special tokens where the text spells them. `encode_ordinary` never gives a special id,
whatever the text spells, and is what content goes through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from typing import Protocol

from codec_core.exceptions import UnencodableTextError
from codec_core.longest_match import LongestMatcher
from codec_core.maps import TokenizerMap
from codec_core.merging.mergers import ByteLevelMerger, MetaspaceMerger
from codec_core.merging.pieces import PieceCache
from codec_core.metaspace import MarkedWords, MetaspaceCutter
from codec_core.pretokenizer import engine_pattern_of, pretokenizer_of
from codec_core.programs import Alternation, MetaspaceSplit, stages_of
from codec_core.special import SpecialTokens
from codec_core.unicode.normalization import nfc
from codec_core.vocabulary import METASPACE, Vocabulary, vocabulary_of


class Tokenizer(ABC):
    """Turns text into the ids of one vocabulary. Safe to share between streams and threads."""

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        self.vocabulary: Vocabulary = vocabulary_of(m)
        self.normalizes = self.vocabulary.facts.normalizer == "nfc"
        self._marks_spaces = self.vocabulary.map.encoder == "metaspace"
        self._prefix = self.vocabulary.facts.metaspace_prefix

    @property
    def prepares(self) -> bool:
        """Tell whether `prepare` changes anything."""
        return self._marks_spaces

    @property
    def id(self) -> str:
        """Return the id of the map."""
        return self.vocabulary.id

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text in which special tokens may stand.

        Raises:
            UnencodableTextError: the text holds a lone surrogate, or a character the vocabulary cannot spell.
        """
        check_text(text)
        ids: list[int] = []
        first = True
        for part in self._special.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._encode_stretch(part, first=first)
            first = False
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text, none of them special, whatever it spells.

        Raises:
            UnencodableTextError: the text holds a lone surrogate, or a character the vocabulary cannot spell.
        """
        if not text.isascii():
            check_text(text)
        return self._encode_stretch(text, first=True)

    def prepare(self, text: str, *, first: bool) -> str:
        """Return text as the vocabulary writes it; `first` for the beginning of a text."""
        if not (text and self._marks_spaces):
            return text
        spelled = text.replace(" ", METASPACE)
        return METASPACE + spelled if first and self._prefix != "never" else spelled

    @abstractmethod
    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""

    @abstractmethod
    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the ids that no continuation of the prepared text can change, and the rest of the text.

        An earlier call found nothing settled in the first `seen` characters.
        """

    def _encode_stretch(self, text: str, *, first: bool) -> list[int]:
        if self.normalizes and not text.isascii():
            text = nfc(text)
        return self.encode_prepared(self.prepare(text, first=first or self._prefix == "always"))

    @cached_property
    def _special(self) -> SpecialTokens:
        return SpecialTokens(self.vocabulary)


class Cutter(Protocol):
    """Where pieces begin and end."""

    def cut(self, text: str) -> list[str]:
        """Return pieces that can be encoded each alone."""

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return the pieces that no continuation can change, and the rest."""


class BPETokenizer(Tokenizer):
    """Encodes with the merges of a map, for byte-level and metaspace vocabularies.

    Attributes:
        missing_bytes: bytes that the vocabulary has no token for. They leave no id, as in the reference
            tokenizers.
    """

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        super().__init__(m)
        tokenizer_map = self.vocabulary.map
        if not self.supports(tokenizer_map):
            raise ValueError(
                f"map {tokenizer_map.id!r} has no merges or no encoder; "
                "pick_tokenizer(map) falls back to the longest match"
            )
        self.missing_bytes: frozenset[int] = frozenset()
        self._cutter: Cutter
        self._ids_of_text: Callable[[str], list[int] | None] | None
        if tokenizer_map.encoder == "byte_level":
            states = tokenizer_map.pre_tokenizer_program, tokenizer_map.pre_tokenizer_pattern
            merger = ByteLevelMerger(self.vocabulary, engine_pattern_of(*states))
            self.missing_bytes = merger.missing_bytes
            self._cutter = pretokenizer_of(*states)
            self._ids_of_text = merger.ids_of_text
            self._pieces = PieceCache(merger.ids_of)
        else:
            by_characters = MetaspaceMerger(self.vocabulary)
            self._cutter = _metaspace_cutter(tokenizer_map, by_characters)
            self._marks_spaces = isinstance(self._cutter, MetaspaceCutter)
            self._ids_of_text = None
            self._pieces = PieceCache(by_characters.ids_of)
        self._cut = self._cutter.cut
        self._ids_of = self._pieces.__getitem__

    @staticmethod
    def supports(m: TokenizerMap) -> bool:
        """Tell whether a map has what byte-pair encoding needs."""
        return bool(m.merges) and m.encoder is not None

    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""
        if self._ids_of_text is not None:
            ids = self._ids_of_text(text)
            if ids is not None:
                return ids
        return self._encode_pieces(text)

    def _encode_pieces(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ids_of, self._cut(text))))

    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the settled ids and the rest of the text."""
        pieces, rest = self._cutter.settle(text, seen)
        return list(chain.from_iterable(map(self._ids_of, pieces))), rest


class LongestMatchTokenizer(Tokenizer):
    """Takes the longest token at each place: for maps without merges."""

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        super().__init__(m)
        self._matcher = LongestMatcher(self.vocabulary)

    @property
    def prepares(self) -> bool:
        """Tell whether `prepare` changes anything."""
        return True

    def prepare(self, text: str, *, first: bool) -> str:
        """Return text as the vocabulary writes it."""
        return self._matcher.spell(super().prepare(text, first=first))

    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""
        return self._matcher.match(text, final=True)[0]

    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the settled ids and the rest of the text."""
        del seen
        ids, used = self._matcher.match(text, final=False)
        return ids, text[used:]


def _metaspace_cutter(tokenizer_map: TokenizerMap, merger: MetaspaceMerger) -> Cutter:
    program = tokenizer_map.pre_tokenizer_program
    for stage in stages_of(program) if program else ():
        if isinstance(stage, Alternation) and isinstance(stage.ops[0], MetaspaceSplit):
            return MarkedWords(prefix_first=stage.ops[0].prefix_first)
    return MetaspaceCutter(merger, fuses_unknown=tokenizer_map.byte_fallback_start is None)


def check_text(text: str) -> None:
    """Refuse text that is no Unicode text.

    Raises:
        UnencodableTextError: a lone surrogate, with its place.
    """
    try:
        text.encode("utf-16-le")
    except UnicodeEncodeError as error:
        raise UnencodableTextError(
            f"a lone surrogate U+{ord(text[error.start]):04X} at character {error.start} stands for no text; "
            "decode the text's source with errors='replace'"
        ) from None


def pick_tokenizer(m: TokenizerMap | Vocabulary) -> Tokenizer:
    """Return the tokenizer of a map, made at the first call and shared by all later ones."""
    vocabulary = vocabulary_of(m)
    known = vocabulary.__dict__.get("tokenizer")
    if known is None:
        kind = BPETokenizer if BPETokenizer.supports(vocabulary.map) else LongestMatchTokenizer
        known = vocabulary.__dict__.setdefault("tokenizer", kind(vocabulary))
    assert isinstance(known, Tokenizer)
    return known


def tokenize(m: TokenizerMap | Vocabulary, text: str) -> list[int]:
    """Return the ids of a text in which special tokens may stand."""
    return pick_tokenizer(m).encode(text)
