"""The immutable view of a map that all streams share.

The rules:

* Everything is derived once per map. `vocabulary_of(map)` keeps the vocabulary on the map, and the tokenizer
  is kept on the vocabulary, so dropping the map frees all tables.
* `special_tokens` are control: content never becomes one of their ids, and decoding leaves them out.
* `text_tokens` are ordinary text, although they are found in text before anything else.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Iterable, Mapping
from threading import Lock
from types import MappingProxyType
from typing import Any, Final
from weakref import WeakValueDictionary

from codec_core.byte_level import decode_byte_level_token
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.families import Facts, facts_of
from codec_core.maps import AddedToken, TextToken, TokenizerMap, check_map, ids_of_version_1

METASPACE: Final = "▁"
"""U+2581, which metaspace vocabularies write for a space."""

REPLACEMENT: Final = "\ufffd"
_REPLACEMENT_BYTES = REPLACEMENT.encode()
_MAKING_VIEWS = Lock()


class Vocabulary:
    """The token ids of a map, the bytes of each, and which of them are control.

    Attributes:
        map: the map that the vocabulary is made from.
        id: the map's id.
        hash: the map's hash, or None for a map made in memory.
        size: the largest id plus one.
        special_tokens: name to id of the control tokens. Only templates place them; content never makes one.
        special_ids: the ids of the control tokens.
        text_tokens: name to token of the added tokens that are ordinary text.
        unmerged: the names of the tokens that no merge makes: control tokens, and text tokens that the
            model's own vocabulary does not have.
        facts: what else exact encoding needs.
        trims_first_space: whether encoding puts a space before a text, which decoding removes again.
        trims_all_spaces: whether decoding removes all spaces that a text begins with, as encoding does.
    """

    def __init__(self, tokenizer_map: TokenizerMap, *, control: Collection[str] = ()) -> None:
        """Derive the tables of a map.

        Args:
            tokenizer_map: the map.
            control: names of text tokens that are control tokens in this vocabulary. Use `with_control`.
        """
        # `check_map` leaves this mark. A map made in memory is checked here, a parsed one not again.
        if "checked" not in tokenizer_map.__dict__:
            check_map(tokenizer_map)
        self.map = tokenizer_map
        self.id = tokenizer_map.id
        self.hash = tokenizer_map.hash
        self.facts: Facts = facts_of(tokenizer_map)
        self._control = frozenset(control)
        text = {token.content: token for token in tokenizer_map.text_tokens or ()}
        special = _special_tokens(tokenizer_map, self.facts)
        special.update((name, (tokenizer_map.vocab or {})[name]) for name in control)
        self.special_tokens: Mapping[str, int] = MappingProxyType(special)
        self.special_ids = frozenset(special.values())
        self.text_tokens: Mapping[str, TextToken] = MappingProxyType(
            {name: token for name, token in text.items() if name not in special}
        )
        self.unmerged = frozenset(special).union(n for n, t in self.text_tokens.items() if not t.in_model)
        self._names = {number: name for name, number in self.special_tokens.items()}
        self._raw = _raw_tokens(tokenizer_map)
        self.size = max(len(self._raw), max(self.special_ids, default=-1) + 1)
        self._spell = _SPELLERS[tokenizer_map.encoder]
        if tokenizer_map.encoder == "byte_level":
            # These are written as the text spells them, not in the byte alphabet.
            vocab = tokenizer_map.vocab or {}
            self._names.update((vocab[name], name) for name in self.text_tokens)
        self.derived: dict[object, Any] = {}
        """Values that other modules derive from this vocabulary, by a key of theirs.

        Kept here and not in a table of the module: such a table would keep every vocabulary alive, because
        what is derived from a vocabulary usually refers to it.
        """
        self._views: WeakValueDictionary[frozenset[str], Vocabulary] = WeakValueDictionary()
        start = tokenizer_map.byte_fallback_start
        self._fallback = range(0) if start is None else range(start, start + 256)
        if self._fallback:
            self.size = max(self.size, self._fallback.stop)
        rules = tokenizer_map.normalizer_rules
        self.trims_all_spaces = rules is not None and rules.collapses_spaces
        # A space that is put before byte-level text stays, as it does in the reference's decoding.
        self.trims_first_space = self.trims_all_spaces or (
            tokenizer_map.encoder == "metaspace" and self.facts.metaspace_prefix != "never"
        )
        self.byte_table = ByteTable(self)
        self.text_table = TextTable(self.byte_table)
        self.plain_text_table = PlainTextTable(self)
        self.spelled_byte_table = SpelledByteTable(self)

    def __repr__(self) -> str:
        return f"<Vocabulary {self.id} of {self.size} ids>"

    @property
    def identity(self) -> str:
        """Return what names the map's content, with a hash or without one (`TokenizerMap.identity`)."""
        return self.map.identity

    def with_control(self, names: Iterable[str]) -> Vocabulary:
        """Return this vocabulary with some text tokens as control tokens; itself where none of them is one.

        A dialect whose markers are text to the tokenizer file (`<think>`, in many) makes them control this
        way: what spells them in content becomes ordinary pieces, never their ids. Views of the same names
        are one object while any is in use.
        """
        added = frozenset(names) & self.text_tokens.keys()
        if not added:
            return self
        control, views = self._control | added, vocabulary_of(self.map)._views
        # `setdefault` of such a dictionary looks up, then assigns: two threads would get two views.
        with _MAKING_VIEWS:
            view = views.get(control)
            if view is None:
                view = views[control] = Vocabulary(self.map, control=control)
        return view

    def apart(self) -> Vocabulary:
        """Return a vocabulary with the same tokens that shares nothing derived with this one."""
        return Vocabulary(self.map, control=self._control)

    def control_tokens(self) -> dict[str, AddedToken]:
        """Return the control tokens by name, and how each is found in text."""
        stated = {token.content: token for token in self.facts.added_tokens}
        stated.update((token.content, token) for token in self.map.text_tokens or ())
        return {name: stated.get(name) or AddedToken(name) for name in self.special_tokens}

    @property
    def byte_fallback(self) -> range:
        """Return the ids of the 256 byte tokens, or an empty range."""
        return self._fallback

    def is_valid(self, token_id: int) -> bool:
        """Return whether the vocabulary has this id."""
        raw = self._raw
        if 0 <= token_id < len(raw) and raw[token_id] is not None:
            return True
        return 0 <= token_id < self.size and (token_id in self.special_ids or token_id in self._fallback)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token decodes to; a control token, the bytes of its name.

        Raises:
            KeyError: the vocabulary has no such id.
        """
        # Names, then bytes: what `vocab` writes for them (`<0x0A>`) is not spelled as its other tokens are.
        # `replace`: a map made in memory may hold lone surrogates, and decoding never fails.
        if token_id in self._names:
            return self._names[token_id].encode("utf-8", "replace")
        if token_id in self._fallback:
            return bytes((token_id - self._fallback.start,))
        raw = self._raw_token(token_id)
        if raw is None:
            raise KeyError(token_id)
        return self._spell(raw)

    def raw_token(self, token_id: int) -> str:
        """Return a token as the map writes it.

        Raises:
            KeyError: the vocabulary has no such id.
        """
        raw = self._raw_token(token_id)
        if raw is None:
            raise KeyError(token_id)
        return raw

    def _raw_token(self, token_id: int) -> str | None:
        return self._raw[token_id] if 0 <= token_id < len(self._raw) else None

    def ordinary(self) -> dict[str, int]:
        """Return token to id of all that the model itself makes of text, as a dict the caller owns."""
        vocab = self.map.vocab
        if vocab is None:
            pairs = ((raw, number) for number, raw in enumerate(self._raw) if raw is not None)
            ordinary: dict[str, int] = {}
            for raw, number in pairs:
                if number not in self.special_ids:
                    ordinary.setdefault(raw, number)  # version 1 maps may give one text several ids
            return ordinary
        ordinary = dict(vocab)
        for name in self.unmerged:
            ordinary.pop(name, None)
        return ordinary


def vocabulary_of(source: TokenizerMap | Vocabulary) -> Vocabulary:
    """Return the vocabulary of a map, made at the first call and shared by all later ones."""
    if isinstance(source, Vocabulary):
        return source
    # The map is frozen, so its `__dict__` is the place for what is derived from it.
    known = source.__dict__.get("vocabulary")
    if known is None:
        # Two threads may both make a vocabulary. `setdefault` keeps the first, so both use the same.
        known = source.__dict__.setdefault("vocabulary", Vocabulary(source))
    assert isinstance(known, Vocabulary)
    return known


class ByteTable(dict[int, bytes]):
    """Id to the bytes it renders as: none for a control token, U+FFFD for an unknown id.

    Filled as ids arrive. Holds at most one entry per id of the vocabulary: unknown ids are not kept.
    """

    __slots__ = ("_vocabulary",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __missing__(self, token_id: int) -> bytes:
        vocabulary = self._vocabulary
        if not vocabulary.is_valid(token_id):
            return _REPLACEMENT_BYTES
        data = b"" if token_id in vocabulary.special_ids else vocabulary.token_bytes(token_id)
        self[token_id] = data
        return data


class SpelledByteTable(dict[int, bytes]):
    """Id to the bytes it renders as, control tokens by their name."""

    __slots__ = ("_vocabulary",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __missing__(self, token_id: int) -> bytes:
        if not self._vocabulary.is_valid(token_id):
            return _REPLACEMENT_BYTES
        data = self[token_id] = self._vocabulary.token_bytes(token_id)
        return data


class PlainTextTable(dict[int, str | None]):
    """Id to its text, or None for a part of a character, a control token or an unknown id."""

    __slots__ = ("_vocabulary",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __missing__(self, token_id: int) -> str | None:
        vocabulary = self._vocabulary
        if token_id in vocabulary.special_ids or not vocabulary.is_valid(token_id):
            return None
        try:
            text: str | None = vocabulary.token_bytes(token_id).decode()
        except UnicodeDecodeError:
            text = None
        self[token_id] = text
        return text


class TextTable(dict[int, str | None]):
    """Id to its text, or None where its bytes are not whole characters."""

    __slots__ = ("_bytes",)

    def __init__(self, table: ByteTable) -> None:
        self._bytes = table

    def __missing__(self, token_id: int) -> str | None:
        data = self._bytes[token_id]
        try:
            text: str | None = data.decode()
        except UnicodeDecodeError:
            text = None
        if token_id in self._bytes:
            self[token_id] = text
        return text


def _special_tokens(tokenizer_map: TokenizerMap, facts: Facts) -> dict[str, int]:
    """Return the control tokens that the map lists, and those that only its family's facts name."""
    vocab = tokenizer_map.vocab or {}
    known = {token.content: vocab[token.content] for token in facts.added_tokens if token.content in vocab}
    return known | (tokenizer_map.special_tokens or {})


def _raw_tokens(tokenizer_map: TokenizerMap) -> list[str | None]:
    vocab = tokenizer_map.vocab
    if vocab is not None:
        raw = _empty_table(vocab.values())
        for token, number in vocab.items():
            raw[number] = token
        return raw
    texts = ids_of_version_1(tokenizer_map.tokens or {})
    raw = _empty_table(texts)
    for number, text in texts.items():
        raw[number] = text
    return raw


def _empty_table(ids: Collection[int]) -> list[str | None]:
    size = max(ids, default=-1) + 1
    # The table has 8 bytes for every id up to the largest: a single id of 2^32-1 would take 32 GiB.
    # Known maps have hardly a gap; one with few tokens costs 8 MB at most.
    if size > 4 * len(ids) + 2**20:
        raise TokenizerMapValidationError(
            f"vocab: {len(ids)} tokens reach up to id {size - 1}; a map this sparse is refused"
        )
    return [None] * size


def _plain_bytes(token: str) -> bytes:
    return token.encode("utf-8", "replace")


def _metaspace_bytes(token: str) -> bytes:
    return token.replace(METASPACE, " ").encode("utf-8", "replace")


_SPELLERS: dict[str | None, Callable[[str], bytes]] = {
    "byte_level": decode_byte_level_token,
    "metaspace": _metaspace_bytes,
    None: _plain_bytes,
}

decode_utf_8 = codecs.utf_8_decode
