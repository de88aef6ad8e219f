"""Tokenizer maps: the JSON document of one tokenizer, parsed and checked.

The rules:

* A map is immutable and named by the sha256 of its bytes.
* The size and the number of values are bounded before the bytes are decoded.
* A map that breaks the protocol is refused with the name of the field; fields that are unknown are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from codec_core.exceptions import CONVERSION_ERRORS, DECODE_ERRORS, TokenizerMapValidationError
from codec_core.maps.checks import (
    check_byte_fallback,
    check_rules,
    check_special_tokens,
    check_text_tokens,
    check_unigram,
    check_vocab,
    ids_of_version_1,
)
from codec_core.maps.packed_merges import PackedMerges
from codec_core.maps.parts import (
    AddedToken,
    NormalizerRules,
    TextToken,
    ToolCallingBlock,
    UnigramScores,
    ZstdDictionary,
)
from codec_core.pretokenizer_program import Program, check_pattern, check_program

MAX_MAP_BYTES = 32 * 2**20
"""The most bytes of a map. The largest known one, 262,144 tokens with all their merges, has 24 MB."""

MAX_MAP_VALUES = 2 * 2**20
"""The most values of a map. Bounds the memory of a hostile document of many tiny entries within the size
limit."""

MAX_MAP_TOKENS = 2**19
"""The most tokens of a map, twice those of the largest known vocabulary. A decoded token takes some 200
bytes, many times what it takes in the document."""

_TRUSTED_BYTES = 4 * 2**20  # below this size the number of values is bounded by the size alone


class TokenizerMap(msgspec.Struct, frozen=True, dict=True, weakref=True):
    """A tokenizer map, version 1 (`tokens`) or 2 (`vocab`).

    Fields the protocol does not know are ignored. The last nine are this project's additions, which hold
    what exact encoding needs and published maps leave out; absent, the family's known behaviour applies
    (`families`).

    Attributes:
        normalizer: "nfc", "nfkc", "none", or "rules" for those of `normalizer_rules`. A reader that does not
            know rules refuses this value, and so the map.
        ignore_merges: whether a piece that is itself a token skips the merges.
        metaspace_prefix: which stretches of text get U+2581 before them: "always" (each stretch between
            special tokens), "first" (only one at the start of the text) or "never".
            With a byte_level encoder, "always" is a space before each stretch that begins with none.
        metaspace_prefix_once: whether a stretch that begins with a space goes without, as it has one.
        missing_bytes: bytes without a token leave no id; whether what is on both sides of them merges
            ("joined", as in `tokenizers`) or not ("apart", as in llama.cpp).
        unigram: the scores of tokens, in place of merges.
        added_tokens: special tokens that are found in another way than by their name alone.
        text_tokens: tokens of `vocab` that are found in the text first and are still ordinary text. A reader
            that does not know the field takes them for other tokens of `vocab`, and so decodes them.
        normalizer_rules: the rules of the normalizer "rules".
    """

    id: str
    version: str
    vocab_size: int
    vocab: dict[str, int] | None = None
    tokens: dict[str, str] | None = None
    encoder: Literal["byte_level", "metaspace"] | None = None
    merges: Sequence[str] | None = None
    pre_tokenizer_pattern: str | None = None
    byte_fallback_start: int | None = None
    byte_fallback_end: int | None = None
    special_tokens: dict[str, int] | None = None
    tool_calling: ToolCallingBlock | None = None
    published_at: str | None = None
    pre_tokenizer_program: Program | None = None
    zstd_dictionaries: list[ZstdDictionary] | None = None
    normalizer: Literal["nfc", "nfkc", "none", "rules"] | None = None
    ignore_merges: bool | None = None
    metaspace_prefix: Literal["always", "first", "never"] | None = None
    metaspace_prefix_once: bool | None = None
    missing_bytes: Literal["joined", "apart"] | None = None
    unigram: UnigramScores | None = None
    added_tokens: list[AddedToken] | None = None
    text_tokens: list[TextToken] | None = None
    normalizer_rules: NormalizerRules | None = None

    @property
    def hash(self) -> str | None:
        """Return `sha256:<hex>` of the bytes that the map was parsed from, or None for one made in memory."""
        # `parse_map` keeps it there: a field of the struct would be read from the document and compared.
        value: str | None = self.__dict__.get("hash")
        return value

    @property
    def identity(self) -> str:
        """Return what names the content: the hash, or of a map made in memory the hash of its `to_json`.

        Two maps without a hash must not be taken for the same one: compare this where ids change hands.
        """
        known: str | None = self.hash or self.__dict__.get("identity")
        if known is None:
            try:
                document = self.to_json()
            except UnicodeEncodeError:  # lone surrogates, which only a map made in memory can hold
                document = repr(msgspec.structs.asdict(self)).encode("utf-8", "backslashreplace")
            known = self.__dict__["identity"] = hash_map(document)
        return known

    @classmethod
    def from_json(cls, data: bytes | str | Mapping[str, Any]) -> TokenizerMap:
        """Parse and check a map given as JSON or as the object decoded from it.

        Raises:
            TokenizerMapValidationError: the map breaks the protocol; the message names the field.
        """
        if isinstance(data, str):
            # A lone surrogate becomes bytes that are not UTF-8, which the decoder refuses by a typed error.
            data = data.encode("utf-8", "surrogatepass")
        if isinstance(data, bytes | bytearray | memoryview):
            return parse_map(bytes(data))
        try:
            tokenizer_map = msgspec.convert(data, cls)
        except CONVERSION_ERRORS as error:
            raise TokenizerMapValidationError(f"not a tokenizer map: {error}") from error
        check_map(tokenizer_map)
        return tokenizer_map

    def to_json(self) -> bytes:
        """Return the map as a document, without the fields that are None.

        Its bytes, and so its hash, may differ from those that it was parsed from: unknown fields are not
        kept. `from_json` of it is equal to this map.
        """
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        if isinstance(self.merges, PackedMerges):
            fields["merges"] = msgspec.Raw(self.merges.json)
        return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})

    def __repr__(self) -> str:
        return f"TokenizerMap(id={self.id!r}, version={self.version!r}, vocab_size={self.vocab_size})"


class _Document(TokenizerMap, frozen=True):
    """A map as it is decoded: the merges stay JSON."""

    merges: msgspec.Raw = msgspec.Raw(b"null")  # type: ignore[assignment] # of another type on purpose


_decoder = msgspec.json.Decoder(_Document)


def _decode(data: bytes) -> TokenizerMap:
    document = _decoder.decode(data)
    # Another object, since the merges are no `msgspec.Raw` to the callers of a `TokenizerMap`.
    fields = {name: getattr(document, name) for name in TokenizerMap.__struct_fields__}
    merges = bytes(document.merges)  # a copy, so that the document can go
    fields["merges"] = None if merges == b"null" else PackedMerges(merges)
    return TokenizerMap(**fields)


def hash_map(data: bytes) -> str:
    """Return the name of a map with these bytes: `sha256:<hex>`."""
    import hashlib  # loads OpenSSL, a twentieth of importing the package

    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse_map(data: bytes) -> TokenizerMap:
    """Parse and check a map.

    Raises:
        TokenizerMapValidationError: the bytes are not a map, or break the protocol; names the field.
    """
    _check_size(data)
    try:
        tokenizer_map = _decode(data)
    except DECODE_ERRORS as error:
        raise TokenizerMapValidationError(f"not a tokenizer map: {error}") from error
    check_map(tokenizer_map)
    tokenizer_map.__dict__["hash"] = hash_map(data)  # derived, so kept as in `check_map`
    return tokenizer_map


def read_map(path: str | os.PathLike[str]) -> TokenizerMap:
    """Read, parse and check a map from a file.

    Raises:
        OSError: the file cannot be read.
        TokenizerMapValidationError: it does not hold a map, or one that breaks the protocol; the message
            names the file.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib alone is a twentieth of the import time
        data = file.read(MAX_MAP_BYTES + 1)
    try:
        return parse_map(data)
    except TokenizerMapValidationError as error:
        raise TokenizerMapValidationError(f"{os.fspath(path)}: {error}") from error


def _check_size(data: bytes) -> None:
    # Before decoding, commas and colons are all that can be counted: at least one a value, and one a token.
    # Those within tokens and merges count too; the limits leave room for them.
    if len(data) > MAX_MAP_BYTES:
        raise TokenizerMapValidationError(f"the map is larger than the limit of {MAX_MAP_BYTES} bytes")
    if len(data) > _TRUSTED_BYTES and data.count(b",") > MAX_MAP_VALUES:
        raise TokenizerMapValidationError(f"the map has more than {MAX_MAP_VALUES} entries")
    if len(data) > _TRUSTED_BYTES and data.count(b":") > MAX_MAP_TOKENS:
        raise TokenizerMapValidationError(f"the map has more than {MAX_MAP_TOKENS} tokens")


def check_map(tokenizer_map: TokenizerMap) -> None:
    """Refuse a map that breaks the protocol.

    Raises:
        TokenizerMapValidationError: names the field and what is wrong with it.
    """
    for field in ("id", "version"):
        if not getattr(tokenizer_map, field):
            raise TokenizerMapValidationError(f"{field} must be a non-empty string")
    # Not compared with the ids: published maps state sizes below their largest id.
    if tokenizer_map.vocab_size < 0:
        raise TokenizerMapValidationError("vocab_size must not be negative")
    if tokenizer_map.vocab is None and tokenizer_map.tokens is None:
        raise TokenizerMapValidationError("one of vocab (version 2) or tokens (version 1) is required")
    # Where a map has both, the vocabulary is made from `vocab` alone.
    if tokenizer_map.vocab is not None:
        check_vocab(tokenizer_map.vocab)
    elif tokenizer_map.tokens is not None:
        ids_of_version_1(tokenizer_map.tokens)
    _check_fields(tokenizer_map)
    if tokenizer_map.pre_tokenizer_program is not None:
        check_program(tokenizer_map.pre_tokenizer_program)
    if tokenizer_map.pre_tokenizer_pattern is not None:
        check_pattern(tokenizer_map.pre_tokenizer_pattern)
    # A frozen struct keeps what is derived from it in its `__dict__`, which is neither compared nor written.
    tokenizer_map.__dict__["checked"] = True


def _check_fields(tokenizer_map: TokenizerMap) -> None:
    """Check each field with those on which it depends."""
    vocab, special = tokenizer_map.vocab, tokenizer_map.special_tokens or {}
    check_special_tokens(special, vocab)
    start, encoder = tokenizer_map.byte_fallback_start, tokenizer_map.encoder
    if tokenizer_map.text_tokens:
        control = {*special, *(token.content for token in tokenizer_map.added_tokens or ())}
        check_text_tokens(tokenizer_map.text_tokens, vocab or {}, control, encoder=encoder, first_byte=start)
    check_byte_fallback(
        start, tokenizer_map.byte_fallback_end, special=special, vocab=vocab, tokens=tokenizer_map.tokens
    )
    if tokenizer_map.unigram is not None:
        check_unigram(tokenizer_map.unigram, encoder, vocab)
    check_rules(tokenizer_map.normalizer, tokenizer_map.normalizer_rules, encoder)
