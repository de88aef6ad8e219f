"""Tokenizer maps: the JSON document of one tokenizer, parsed and checked.

The rules:

* A map is immutable and named by the sha256 of its bytes.
* The size and the number of values are bounded before the bytes are decoded.
* A map that breaks the protocol is refused with the name of the field; fields that are unknown are ignored.
* Checks run over whole columns at once, so that checking 100,000 entries costs little beside decoding them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal

import msgspec

from codec_core.byte_level import decode_byte_level_token
from codec_core.exceptions import CONVERSION_ERRORS, DECODE_ERRORS, TokenizerMapValidationError
from codec_core.packed_merges import PackedMerges
from codec_core.pretokenizer_program import Program, check_pattern, check_program

MAX_MAP_BYTES = 32 * 2**20
"""The most bytes of a map. The largest known one, 262,144 tokens with all their merges, has 24 MB."""

MAX_MAP_VALUES = 2 * 2**20
"""The most values of a map. Bounds the memory of a hostile document of many tiny entries within the size
limit."""

MAX_MAP_TOKENS = 2**19
"""The most tokens of a map, twice those of the largest known vocabulary. A decoded token takes some 200
bytes, many times what it takes in the document."""

MAX_ID = 2**32 - 1

_TRUSTED_BYTES = 4 * 2**20  # below this size the number of values is bounded by the size alone


class ToolCallingMarkers(msgspec.Struct, frozen=True):
    """The names of the control tokens around a tool call."""

    start: str
    end: str


class ToolCallingBlock(msgspec.Struct, frozen=True):
    """The form in which the models of this map write tool calls."""

    convention: str
    markers: ToolCallingMarkers
    args_format: str = "json"
    result_format: str = "text"


class ZstdDictionary(msgspec.Struct, frozen=True):
    """A trained dictionary for streams of this map's ids, one per stream format."""

    format: str
    url: str
    hash: str
    size_bytes: int | None = None


class AddedToken(msgspec.Struct, frozen=True):
    """A token that is found in text before anything else, and the way in which it is found.

    Attributes:
        content: the token, as the text spells it.
        lstrip: whether it takes the white space before it.
        rstrip: whether it takes the white space after it.
        single_word: whether it is found only where no letter, digit or other word character is beside it.
        normalized: whether it is looked for in normalized text, after those that are looked for in the text
            as it is.
        as_spelled: whether, in normalized text, it is looked for as it is spelled, without the U+2581 that
            stretches of text begin with.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False
    as_spelled: bool = False


class TextToken(AddedToken, frozen=True):
    """An added token that is ordinary text: content may hold it, and decoding renders it.

    Attributes:
        in_model: whether the model's own vocabulary has it too, so that merges may also make it.
    """

    in_model: bool = False


class UnigramScores(msgspec.Struct, frozen=True):
    """A unigram model: it divides text into the tokens whose scores sum highest.

    Attributes:
        scores: the score of each id.
        precision: in which sums are rounded: "double" as in `tokenizers`, "single" as in SentencePiece.
        unknown: the score of a character without a token; None where it is 10 below the lowest score of all.
    """

    scores: list[float]
    precision: Literal["single", "double"] = "double"
    unknown: float | None = None


class NormalizerRules(msgspec.Struct, frozen=True):
    """Rules of a SentencePiece model, for the normalizer "rules".

    Attributes:
        charsmap: the model's `precompiled_charsmap` in base64 (`unicode.replacement_rules`), or None.
        collapses_spaces: whether spaces at the ends are left out, and runs of spaces become one.
        kept: texts that no rule changes, looked for before the rules; the model's user-defined symbols.
    """

    charsmap: str | None = None
    collapses_spaces: bool = False
    kept: tuple[str, ...] = ()


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
        TokenizerMapValidationError: it does not hold a map, or one that breaks the protocol.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib alone is a twentieth of the import time
        return parse_map(file.read(MAX_MAP_BYTES + 1))


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
        _check_vocab(tokenizer_map.vocab)
    elif tokenizer_map.tokens is not None:
        ids_of_version_1(tokenizer_map.tokens)
    _check_special_tokens(tokenizer_map)
    _check_text_tokens(tokenizer_map)
    _check_byte_fallback(tokenizer_map)
    _check_unigram(tokenizer_map)
    _check_rules(tokenizer_map)
    if tokenizer_map.pre_tokenizer_program is not None:
        check_program(tokenizer_map.pre_tokenizer_program)
    if tokenizer_map.pre_tokenizer_pattern is not None:
        check_pattern(tokenizer_map.pre_tokenizer_pattern)
    # A frozen struct keeps what is derived from it in its `__dict__`, which is neither compared nor written.
    tokenizer_map.__dict__["checked"] = True


def _check_vocab(vocab: dict[str, int]) -> None:
    if not vocab:
        return
    ids = set(vocab.values())
    if min(ids) < 0 or max(ids) > MAX_ID:
        wrong = next(token for token, number in vocab.items() if not 0 <= number <= MAX_ID)
        raise TokenizerMapValidationError(f"vocab: {wrong!r} has id {vocab[wrong]}, outside 0..2^32-1")
    if len(ids) != len(vocab):
        _name_conflict("vocab", vocab)


def _name_conflict(field: str, ids: Mapping[str, int]) -> None:
    owners: dict[int, str] = {}
    for token, number in ids.items():
        if number in owners:
            raise TokenizerMapValidationError(
                f"{field}: id {number} is given to both {owners[number]!r} and {token!r}"
            )
        owners[number] = token


def ids_of_version_1(tokens: Mapping[str, str]) -> dict[int, str]:
    """Return id to text of a version 1 map. Published ones have either the ids or the texts as keys.

    Raises:
        TokenizerMapValidationError: neither the keys nor the values are all ids, or an id has two texts.
    """
    # Where all keys and all values are ids, the protocol's own form counts: ids as keys.
    if all(map(_is_id, tokens)):
        pairs = ((int(number), text) for number, text in tokens.items())
    elif all(map(_is_id, tokens.values())):
        pairs = ((int(number), text) for text, number in tokens.items())
    else:
        raise TokenizerMapValidationError(
            "tokens: neither all keys nor all values are decimal ids within 0..2^32-1"
        )
    texts: dict[int, str] = {}
    for number, text in pairs:
        if texts.setdefault(number, text) != text:
            raise TokenizerMapValidationError(
                f"tokens: id {number} is given to both {texts[number]!r} and {text!r}"
            )
    return texts


def _is_id(text: str) -> bool:
    # `int` also reads signs, spaces and digits of other scripts, and takes quadratic time for long texts.
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID


def _check_special_tokens(tokenizer_map: TokenizerMap) -> None:
    special = tokenizer_map.special_tokens
    if not special:
        return
    if any(not 0 <= number <= MAX_ID for number in special.values()):
        raise TokenizerMapValidationError("special_tokens: an id is outside 0..2^32-1")
    if "" in special:
        raise TokenizerMapValidationError("special_tokens: a name is empty")
    _name_conflict("special_tokens", special)
    _check_special_owners(tokenizer_map, special)


def _check_special_owners(tokenizer_map: TokenizerMap, special: Mapping[str, int]) -> None:
    vocab = tokenizer_map.vocab
    if vocab is None:
        return
    for name, number in special.items():
        if vocab.get(name, number) != number:
            raise TokenizerMapValidationError(
                f"special_tokens: {name!r} has id {number}, in vocab it has {vocab[name]}"
            )
    # Set operations over whole columns: a loop over 100,000 tokens would double the time to load a map.
    outside = {number: name for name, number in special.items() if name not in vocab}
    if outside and not outside.keys().isdisjoint(vocab.values()):
        token, number = next((token, number) for token, number in vocab.items() if number in outside)
        raise TokenizerMapValidationError(
            f"special_tokens: id {number} of {outside[number]!r} is given to {token!r} in vocab"
        )


def _check_text_tokens(tokenizer_map: TokenizerMap) -> None:
    tokens = tokenizer_map.text_tokens
    if not tokens:
        return
    vocab = tokenizer_map.vocab or {}
    control = {*(tokenizer_map.special_tokens or ()), *(t.content for t in tokenizer_map.added_tokens or ())}
    seen: set[str] = set()
    for token in tokens:
        name = token.content
        if not name or name not in vocab:
            reason: str | None = "not in vocab" if name else "empty"
        elif name in seen or name in control:
            reason = (
                "given twice" if name in seen else "control as well; a token is text or control, not both"
            )
        else:
            reason = _fault_of_text_token(tokenizer_map, token)
        if reason:
            raise TokenizerMapValidationError(f"text_tokens: {name!r} is {reason}")
        seen.add(name)


def _fault_of_text_token(tokenizer_map: TokenizerMap, token: TextToken) -> str | None:
    """Return how a text token's entry in the vocabulary contradicts its text, or None."""
    data = token.content.encode("utf-8", "surrogatepass")  # never the bytes of a token, and no error here
    number = (tokenizer_map.vocab or {}).get(token.content)
    start = tokenizer_map.byte_fallback_start
    if start is not None and number is not None and start <= number < start + 256:
        return None if data == bytes((number - start,)) else f"the token of byte {number - start:#04x}"
    if (
        tokenizer_map.encoder == "byte_level"
        and token.in_model
        and decode_byte_level_token(token.content) != data
    ):
        # The model writes bytes in an alphabet of letters. One entry cannot be both readings of a name.
        return "also the spelling of other bytes in the model's vocabulary"
    return None


def _check_unigram(tokenizer_map: TokenizerMap) -> None:
    if tokenizer_map.unigram is None:
        return
    scores, vocab = tokenizer_map.unigram.scores, tokenizer_map.vocab
    if tokenizer_map.encoder != "metaspace" or not vocab:
        raise TokenizerMapValidationError("unigram: only a metaspace vocabulary is divided by scores")
    if len(scores) <= max(vocab.values()) or not all(map(isfinite, scores)):
        raise TokenizerMapValidationError("unigram: there must be a finite score for each id of vocab")
    if tokenizer_map.unigram.unknown is not None and not isfinite(tokenizer_map.unigram.unknown):
        raise TokenizerMapValidationError("unigram: the score of unknown characters must be finite")


def _check_rules(tokenizer_map: TokenizerMap) -> None:
    if (tokenizer_map.normalizer == "rules") != (tokenizer_map.normalizer_rules is not None):
        raise TokenizerMapValidationError(
            'normalizer_rules: give them with the normalizer "rules", and only then'
        )
    if tokenizer_map.normalizer == "rules" and tokenizer_map.encoder != "metaspace":
        raise TokenizerMapValidationError("normalizer_rules: only a metaspace vocabulary has them")


def _check_byte_fallback(tokenizer_map: TokenizerMap) -> None:
    start, end = tokenizer_map.byte_fallback_start, tokenizer_map.byte_fallback_end
    if start is None and end is None:
        return
    if start is None or end is None:
        missing = "byte_fallback_start" if start is None else "byte_fallback_end"
        raise TokenizerMapValidationError(f"{missing} is missing; give both ends or neither")
    if start < 0 or end > MAX_ID or end - start != 255:
        raise TokenizerMapValidationError(
            f"byte_fallback_start..byte_fallback_end is {start}..{end}; it must hold the 256 byte tokens"
        )
    for name, number in (tokenizer_map.special_tokens or {}).items():
        if start <= number <= end:
            raise TokenizerMapValidationError(
                f"special_tokens: {name!r} has id {number}, which byte_fallback_start..byte_fallback_end "
                f"({start}..{end}) gives to a byte: the text of that byte would be control"
            )
    _check_byte_owners(tokenizer_map, start)


def _check_byte_owners(tokenizer_map: TokenizerMap, start: int) -> None:
    """Refuse ids of bytes that the map gives to other text: decoding would write the byte for it."""
    vocab = tokenizer_map.vocab
    if vocab is None:
        vocab = {text: number for number, text in ids_of_version_1(tokenizer_map.tokens or {}).items()}
    names = {f"<0x{byte:02X}>": start + byte for byte in range(256)}
    for name, number in names.items():
        if vocab.get(name, number) != number:
            raise TokenizerMapValidationError(
                f"byte_fallback_start: {name} has another id in vocab than {number}"
            )
    unnamed = {number for name, number in names.items() if name not in vocab}
    if not unnamed:  # nearly always: the loop over all tokens is slow
        return
    for token, number in vocab.items():
        spelled = token.replace("\u2581", " ").encode("utf-8", "replace")
        # A token of the byte itself (a tab for `<0x09>`) decodes to the same text.
        if number in unnamed and spelled != bytes((number - start,)):
            raise TokenizerMapValidationError(
                f"byte_fallback_start: {token!r} has id {number} in vocab, which is that of a byte"
            )
