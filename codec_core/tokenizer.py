"""Text to token ids, equal to the model's own tokenizer.

The rules:

* `encode` reads control tokens where the text spells them.
* `encode_ordinary` never gives the id of a control token, whatever the text spells. Content goes through it.
* Both find the vocabulary's text tokens (`TokenizerMap.text_tokens`) before anything else. What is between
  them is normalized, cut into pieces, and merged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from codec_core.added import AddedTokens, Passes, passes_of
from codec_core.exceptions import UnencodableTextError
from codec_core.maps import TokenizerMap
from codec_core.pretokenizer_program import Alternation, MetaspaceSplit, stages_of
from codec_core.unicode.normalizers import KEEPS_ASCII, normalizers_of
from codec_core.vocabulary import METASPACE, Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from codec_core.merging import Merger
    from codec_core.metaspace import MarkedWords

_flat = chain.from_iterable


class Tokenizer(ABC):
    """Turns text into ids. The tokenizers of this module follow a map; others implement these two."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Return the id of the map."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; control tokens are read where the text spells them."""


class VocabularyTokenizer(Tokenizer):
    """Turns text into the ids of one vocabulary. Safe to share between streams and threads.

    Attributes:
        vocabulary: the vocabulary.
        normalizes: whether text is normalized before it is encoded, by `normalize`.
        normalized_stream: returns a new stream that normalizes text which arrives in parts.
        prepares: whether `prepare` changes text.
        prefixes_stretches: whether each stretch between added tokens gets the prefix that a text gets.
        marks_before_names: whether added tokens are looked for in text with U+2581 for spaces.
        cuts_at_spaces: whether white space only divides words, whatever of it there is.
    """

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        self.vocabulary: Vocabulary = vocabulary_of(m)
        self.normalizes = self.vocabulary.facts.normalizer != "none"
        self._keeps_ascii = self.vocabulary.facts.normalizer in KEEPS_ASCII
        self.normalize, self.normalized_stream = normalizers_of(self.vocabulary)
        self._marks_spaces = self.vocabulary.map.encoder == "metaspace"
        # Byte-level vocabularies have no such prefix unless their map states one.
        self._adds_space = not self._marks_spaces and self.vocabulary.map.metaspace_prefix == "always"
        self._prefix = self.vocabulary.facts.metaspace_prefix
        self._prefix_once = self.vocabulary.facts.metaspace_prefix_once
        self.prefixes_stretches = self._prefix == "always"
        # The reference marks spaces either as it normalizes, before it looks for tokens in normalized text,
        # or as it cuts, after that. Only the latter spares a text that begins with a space the prefix.
        self.marks_before_names = self._marks_spaces and not self._prefix_once
        self.prepares = self._marks_spaces or self._adds_space
        self.cuts_at_spaces = False

    @property
    def id(self) -> str:
        """Return the id of the map."""
        return self.vocabulary.id

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; control tokens are read where the text spells them.

        Raises:
            UnencodableTextError: the text holds a lone surrogate, or a character the vocabulary cannot spell.
        """
        check_text(text)
        passes = self.all_passes
        return self._encode_found(text, passes) if passes else self._encode_stretch(text, first=True)

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text, none of them control, whatever it spells.

        Raises:
            UnencodableTextError: the text holds a lone surrogate, or a character the vocabulary cannot spell.
        """
        if not text.isascii():  # ASCII holds no surrogates; most texts of every stream come here
            check_text(text)
        passes = self.text_passes
        return self._encode_found(text, passes) if passes else self._encode_stretch(text, first=True)

    def prepare(self, text: str, *, first: bool) -> str:
        """Return text in the spelling of the vocabulary; `first` for the beginning of a text."""
        if not (text and self._marks_spaces):
            return " " + text if self._adds_space and text and first and text[0] != " " else text
        spelled = text.replace(" ", METASPACE)
        if not first or self._prefix == "never" or (self._prefix_once and spelled[0] == METASPACE):
            return spelled
        return METASPACE + spelled

    @abstractmethod
    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""

    @abstractmethod
    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the ids that no continuation of the prepared text can change, and the rest of the text.

        An earlier call found nothing settled in the first `seen` characters.
        """

    def _encode_found(self, text: str, passes: Passes) -> list[int]:
        """Return the ids of the added tokens, and of the stretches between them."""
        ids: list[int] = []
        first = True
        for part in passes.raw.split(text) if passes.raw else [text]:
            if isinstance(part, int):
                ids.append(part)
            elif passes.normalized:
                ids += self._encode_normalized(part, passes.normalized, first=first)
            else:
                ids += self._encode_stretch(part, first=first)
            first = False
        return ids

    def _encode_normalized(self, text: str, added: AddedTokens, *, first: bool) -> list[int]:
        """Return the ids of a stretch in which tokens are looked for once it is normalized."""
        text = self.normalize(text) if self.normalizes else text
        # Spaces are marked before or after the search, as the reference does it: see `__init__`.
        if self.marks_before_names:
            text = self.prepare(text, first=first or self.prefixes_stretches)
        ids: list[int] = []
        for part in added.split(text):
            if isinstance(part, int):
                ids.append(part)
            elif self.marks_before_names:
                ids += self.encode_prepared(part)
            else:
                ids += self.encode_prepared(self.prepare(part, first=first or self.prefixes_stretches))
            first = False
        return ids

    def _encode_stretch(self, text: str, *, first: bool) -> list[int]:
        if self.normalizes and not (self._keeps_ascii and text.isascii()):
            text = self.normalize(text)
        return self.encode_prepared(self.prepare(text, first=first or self.prefixes_stretches))

    def _take_spaces_from(self, cutter: Cutter) -> None:
        """Decide anew where spaces are marked: some cutters find words by their spaces, and mark them."""
        self.cuts_at_spaces = self._marks_spaces and cutter.takes_spaces
        self._marks_spaces = not cutter.takes_spaces
        self.marks_before_names = self._marks_spaces and not self._prefix_once
        self.prepares = self._marks_spaces or self._adds_space

    @cached_property
    def text_passes(self) -> Passes | None:
        """Return how the text tokens are found; None where the vocabulary has none."""
        return passes_of(self.vocabulary, self._normalize_name, control=False)

    @cached_property
    def all_passes(self) -> Passes | None:
        """Return how control tokens and text tokens are found; None where the vocabulary has none."""
        return passes_of(self.vocabulary, self._normalize_name, control=True)

    def _normalize_name(self, name: str) -> str:
        """Return what is looked for in normalized text for a token: its name, normalized as well."""
        name = self.normalize(name) if self.normalizes else name
        return self.prepare(name, first=True) if self.marks_before_names else name


class Cutter(Protocol):
    """Cuts text into pieces."""

    @property
    def takes_spaces(self) -> bool:
        """Return whether texts come with their spaces, or with U+2581 for them."""

    def cut(self, text: str) -> list[str]:
        """Return pieces that can each be encoded alone."""

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return the pieces that no continuation can change, and the rest."""


class BPETokenizer(VocabularyTokenizer):
    """Encodes with the merges of a map, for byte-level and metaspace vocabularies.

    Attributes:
        missing_bytes: bytes that the vocabulary has no token for. They give no id, as in the reference.
    """

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        super().__init__(m)
        tokenizer_map = self.vocabulary.map
        if not self.supports(tokenizer_map):
            raise ValueError(
                f"map {tokenizer_map.id!r} has no merges or no encoder; "
                "pick_tokenizer(map) falls back to the longest match"
            )
        from codec_core.merging import PieceCache  # late, as the imports of `_byte_level` are

        parts = _byte_level if tokenizer_map.encoder == "byte_level" else _metaspace
        self._cutter, merger = parts(self.vocabulary)
        self._take_spaces_from(self._cutter)
        self.missing_bytes = merger.missing_bytes
        # Bound once: these run for every text and piece.
        self._cut = self._cutter.cut
        self._settle_pieces = self._cutter.settle
        self._ids_of_text = merger.ids_of_text
        self._ids_of = PieceCache(merger.ids_of).__getitem__

    @staticmethod
    def supports(m: TokenizerMap) -> bool:
        """Return whether a map has merges and an encoder, which byte-pair encoding needs."""
        return bool(m.merges) and m.encoder is not None

    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""
        ids = self._ids_of_text(text)
        return list(_flat(map(self._ids_of, self._cut(text)))) if ids is None else ids

    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the settled ids and the rest of the text."""
        pieces, rest = self._settle_pieces(text, seen)
        return list(_flat(map(self._ids_of, pieces))), rest


class LongestMatchTokenizer(VocabularyTokenizer):
    """Takes the longest token at each place: for maps without merges."""

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        super().__init__(m)
        from codec_core.longest_match import LongestMatcher

        self._matcher = LongestMatcher(self.vocabulary)
        self.prepares = True  # spelling a text is part of it

    def prepare(self, text: str, *, first: bool) -> str:
        """Return text in the spelling of the vocabulary."""
        return self._matcher.spell(super().prepare(text, first=first))

    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""
        return self._matcher.match(text, final=True)[0]

    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the settled ids and the rest of the text."""
        del seen
        ids, used = self._matcher.match(text, final=False)
        return ids, text[used:]


class UnigramTokenizer(VocabularyTokenizer):
    """Divides text into the tokens whose scores sum highest: for maps with scores."""

    def __init__(self, m: TokenizerMap | Vocabulary) -> None:
        super().__init__(m)
        from codec_core.merging import PieceCache
        from codec_core.merging.unigram import UnigramDivider
        from codec_core.pretokenizer import pretokenizer_of

        stated = self.vocabulary.map
        self._cutter: Cutter = _marked_words(stated) or pretokenizer_of(
            stated.pre_tokenizer_program, stated.pre_tokenizer_pattern, takes_spaces=False
        )
        self._take_spaces_from(self._cutter)
        self._ids_of = PieceCache(UnigramDivider(self.vocabulary).ids_of).__getitem__

    @staticmethod
    def supports(m: TokenizerMap) -> bool:
        """Return whether a map has scores."""
        return m.unigram is not None

    def encode_prepared(self, text: str) -> list[int]:
        """Return the ids of prepared text that nothing follows."""
        return list(_flat(map(self._ids_of, self._cutter.cut(text))))

    def settle(self, text: str, seen: int = 0) -> tuple[list[int], str]:
        """Return the settled ids and the rest of the text."""
        pieces, rest = self._cutter.settle(text, seen)
        return list(_flat(map(self._ids_of, pieces))), rest


# These imports are late: they take a tenth of the time to import the package, and only encoding needs them.


def _byte_level(vocabulary: Vocabulary) -> tuple[Cutter, Merger]:
    from codec_core.merging import ByteLevelMerger
    from codec_core.pretokenizer import engine_pattern_of, pretokenizer_of

    states = vocabulary.map.pre_tokenizer_program, vocabulary.map.pre_tokenizer_pattern
    return pretokenizer_of(*states), ByteLevelMerger(vocabulary, engine_pattern_of(*states))


def _metaspace(vocabulary: Vocabulary) -> tuple[Cutter, Merger]:
    from codec_core.merging import MetaspaceMerger
    from codec_core.metaspace import MetaspaceCutter

    merger, tokenizer_map = MetaspaceMerger(vocabulary), vocabulary.map
    words, program = _marked_words(tokenizer_map), tokenizer_map.pre_tokenizer_program
    if words:
        return words, merger
    if program or tokenizer_map.pre_tokenizer_pattern:
        from codec_core.pretokenizer import pretokenizer_of

        return pretokenizer_of(program, tokenizer_map.pre_tokenizer_pattern, takes_spaces=False), merger
    return MetaspaceCutter(merger), merger


def _marked_words(tokenizer_map: TokenizerMap) -> MarkedWords | None:
    """Return the cutter of a map that cuts text at white space, or None."""
    program = tokenizer_map.pre_tokenizer_program
    match stages_of(program) if program else ():
        case (Alternation((MetaspaceSplit(prefix_first),)),):  # `check_program` refuses it beside others
            from codec_core.metaspace import MarkedWords

            return MarkedWords(prefix_first=prefix_first)
    return None


def check_text(text: str) -> None:
    """Refuse text that is not Unicode text.

    Raises:
        UnencodableTextError: a lone surrogate, with its place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnencodableTextError(
            f"a lone surrogate U+{ord(text[error.start]):04X} at character {error.start} is not a character; "
            "decode the text's source with errors='replace'"
        ) from None


def pick_tokenizer(m: TokenizerMap | Vocabulary) -> VocabularyTokenizer:
    """Return the tokenizer of a map, made at the first call and shared by all later ones."""
    vocabulary = vocabulary_of(m)
    # Kept on the vocabulary, so it is freed with it.
    known: VocabularyTokenizer | None = vocabulary.__dict__.get("tokenizer")
    if known is None:
        kind: type[VocabularyTokenizer] = LongestMatchTokenizer
        if UnigramTokenizer.supports(vocabulary.map):
            kind = UnigramTokenizer
        elif BPETokenizer.supports(vocabulary.map):
            kind = BPETokenizer
        # `setdefault` gives two threads the same one.
        known = vocabulary.__dict__.setdefault("tokenizer", kind(vocabulary))
    return known


def tokenize(m: TokenizerMap | Vocabulary, text: str) -> list[int]:
    """Return the ids of a text; control tokens are read where the text spells them."""
    return pick_tokenizer(m).encode(text)
