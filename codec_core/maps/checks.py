"""The rules that the fields of a map keep, alone and with each other.

The rules of this file:

* A fault is named by its field.
* Checks run over whole columns at once, so that checking 100,000 entries costs little beside decoding them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import isfinite

from codec_core.byte_level import decode_byte_level_token
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps.parts import NormalizerRules, TextToken, UnigramScores

MAX_ID = 2**32 - 1


def check_vocab(vocab: Mapping[str, int]) -> None:
    """Refuse ids that are out of range, or given to two tokens.

    Raises:
        TokenizerMapValidationError: names the tokens.
    """
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


def check_special_tokens(special: Mapping[str, int], vocab: Mapping[str, int] | None) -> None:
    """Refuse special tokens that are no tokens, or that contradict `vocab`.

    Raises:
        TokenizerMapValidationError: names the token.
    """
    if not special:
        return
    for name, number in special.items():
        if not 0 <= number <= MAX_ID:
            raise TokenizerMapValidationError(
                f"special_tokens: the id {number} of {name!r} is outside 0..2^32-1"
            )
    if "" in special:
        raise TokenizerMapValidationError(f"special_tokens: the name of id {special['']} is empty")
    _name_conflict("special_tokens", special)
    if vocab is not None:
        _check_special_owners(special, vocab)


def _check_special_owners(special: Mapping[str, int], vocab: Mapping[str, int]) -> None:
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


def check_text_tokens(
    tokens: Sequence[TextToken],
    vocab: Mapping[str, int],
    control: Container[str],
    *,
    encoder: str | None,
    first_byte: int | None,
) -> None:
    """Refuse text tokens that are no tokens, or also something else.

    Args:
        tokens: the tokens.
        vocab: the vocabulary; each has its id there.
        control: the names of control tokens.
        encoder: that of the map.
        first_byte: the id of the byte 0; None where bytes have no tokens of their own.

    Raises:
        TokenizerMapValidationError: names the token.
    """
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
            reason = _fault_of_text_token(token, vocab[name], encoder, first_byte)
        if reason:
            raise TokenizerMapValidationError(f"text_tokens: {name!r} is {reason}")
        seen.add(name)


def _fault_of_text_token(
    token: TextToken, number: int, encoder: str | None, first_byte: int | None
) -> str | None:
    """Return how a text token's entry in the vocabulary contradicts its text, or None."""
    data = token.content.encode("utf-8", "surrogatepass")  # never the bytes of a token, and no error here
    if first_byte is not None and first_byte <= number < first_byte + 256:
        byte = number - first_byte
        return None if data == bytes((byte,)) else f"the token of byte {byte:#04x}"
    if encoder == "byte_level" and token.in_model and decode_byte_level_token(token.content) != data:
        # The model writes bytes in an alphabet of letters. One entry cannot be both readings of a name.
        return "also the spelling of other bytes in the model's vocabulary"
    return None


def check_unigram(unigram: UnigramScores, encoder: str | None, vocab: Mapping[str, int] | None) -> None:
    """Refuse scores that a vocabulary cannot be divided by.

    Raises:
        TokenizerMapValidationError: the reason.
    """
    if encoder != "metaspace" or not vocab:
        raise TokenizerMapValidationError("unigram: only a metaspace vocabulary is divided by scores")
    if len(unigram.scores) <= max(vocab.values()) or not all(map(isfinite, unigram.scores)):
        raise TokenizerMapValidationError("unigram: there must be a finite score for each id of vocab")
    if unigram.unknown is not None and not isfinite(unigram.unknown):
        raise TokenizerMapValidationError("unigram: the score of unknown characters must be finite")


def check_rules(normalizer: str | None, rules: NormalizerRules | None, encoder: str | None) -> None:
    """Refuse rules of normalization without their normalizer, the reverse, or rules that contradict.

    Raises:
        TokenizerMapValidationError: the reason.
    """
    if (normalizer == "rules") != (rules is not None):
        raise TokenizerMapValidationError(
            'normalizer_rules: give them with the normalizer "rules", and only then'
        )
    if normalizer == "rules" and encoder != "metaspace":
        raise TokenizerMapValidationError("normalizer_rules: only a metaspace vocabulary has them")
    if rules is None:
        return
    if rules.kept and rules.by_cluster:
        raise TokenizerMapValidationError("normalizer_rules: rules that apply to clusters keep no texts")
    if rules.collapses_spaces and (rules.merged_spaces is not None or rules.strips_end):
        raise TokenizerMapValidationError("normalizer_rules: spaces collapse, or are merged and stripped")
    if rules.merged_spaces not in (None, " ", "\u2581"):
        raise TokenizerMapValidationError("normalizer_rules: runs of spaces become a space or U+2581")


def check_byte_fallback(
    start: int | None,
    end: int | None,
    *,
    special: Mapping[str, int],
    vocab: Mapping[str, int] | None,
    tokens: Mapping[str, str] | None,
) -> None:
    """Refuse ids of bytes that the map also gives to something else.

    Args:
        start: the id of the byte 0.
        end: the id of the byte 255.
        special: the special tokens.
        vocab: the vocabulary of a version 2 map.
        tokens: that of a version 1 map; read where there is no `vocab`.

    Raises:
        TokenizerMapValidationError: names the token.
    """
    if start is None and end is None:
        return
    if start is None or end is None:
        missing = "byte_fallback_start" if start is None else "byte_fallback_end"
        raise TokenizerMapValidationError(f"{missing} is missing; give both ends or neither")
    if start < 0 or end > MAX_ID or end - start != 255:
        raise TokenizerMapValidationError(
            f"byte_fallback_start..byte_fallback_end is {start}..{end}; it must hold the 256 byte tokens"
        )
    for name, number in special.items():
        if start <= number <= end:
            raise TokenizerMapValidationError(
                f"special_tokens: {name!r} has id {number}, which byte_fallback_start..byte_fallback_end "
                f"({start}..{end}) gives to a byte: the text of that byte would be control"
            )
    if vocab is None:
        vocab = {text: number for number, text in ids_of_version_1(tokens or {}).items()}
    _check_byte_owners(vocab, start)


def _check_byte_owners(vocab: Mapping[str, int], start: int) -> None:
    """Refuse ids of bytes that the map gives to other text: decoding would write the byte for it."""
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
        # `replace` would make a question mark's byte of a lone surrogate, which maps made in memory may hold.
        spelled = token.replace("\u2581", " ").encode("utf-8", "surrogatepass")
        # A token of the byte itself (a tab for `<0x09>`) decodes to the same text.
        if number in unnamed and spelled != bytes((number - start,)):
            raise TokenizerMapValidationError(
                f"byte_fallback_start: {token!r} has id {number} in vocab, which is that of a byte"
            )
