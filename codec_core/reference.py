"""The algorithms of this package as slow, readable definitions. Tests hold the fast paths equal to them.

Nothing here is used at run time. Everything is the definition, word for word, and takes quadratic time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Literal

import regex

from codec_core.byte_level import encode_byte_level_chars
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import AddedToken
from codec_core.merging.by_list import UNKNOWN
from codec_core.unicode.classes import WHITE_SPACE
from codec_core.vocabulary import METASPACE, Vocabulary

_FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}


def merge(symbols: list[str], merges: list[str]) -> list[str]:
    """Merge the pair that is first in the list, at its leftmost place, until no listed pair is left."""
    places = {pair: place for place, pair in enumerate(merges)}
    while True:
        found = [
            (places[pair], position)
            for position in range(len(symbols) - 1)
            if (pair := f"{symbols[position]} {symbols[position + 1]}") in places
        ]
        if not found:
            return symbols
        _, position = min(found)
        symbols = [
            *symbols[:position],
            symbols[position] + symbols[position + 1],
            *symbols[position + 2 :],
        ]


def ordinary_merges(vocabulary: Vocabulary) -> list[str]:
    """Return the merges that make a token which text may become."""
    unmerged = vocabulary.unmerged
    return [pair for pair in vocabulary.map.merges or [] if pair.replace(" ", "") not in unmerged]


def encode_byte_level(vocabulary: Vocabulary, text: str) -> list[int]:
    """Encode ordinary text: cut by the pattern, spell in the byte alphabet, merge, look up."""
    ids = vocabulary.ordinary()
    merges = ordinary_merges(vocabulary)
    found: list[int] = []
    for match in regex.finditer(vocabulary.map.pre_tokenizer_pattern or r"[\s\S]+", text):
        spelled = encode_byte_level_chars(match.group().encode())
        if vocabulary.facts.ignore_merges and spelled in ids:
            found.append(ids[spelled])
            continue
        symbols = [c if c in ids else UNKNOWN for c in spelled]
        if vocabulary.map.missing_bytes != "apart":
            symbols = [symbol for symbol in symbols if symbol != UNKNOWN]
        found += [ids[token] for token in merge(symbols, merges) if token in ids]
    return found


def encode_metaspace(vocabulary: Vocabulary, text: str, *, first: bool = True) -> list[int]:
    """Encode ordinary text: mark the spaces and the beginning, merge all of it, fall back to bytes."""
    return merge_marked(vocabulary, mark_spaces(vocabulary, text, first=first))


def mark_spaces(vocabulary: Vocabulary, text: str, *, first: bool) -> str:
    """Write U+2581 for spaces and, where the vocabulary has it so, before a stretch of text."""
    facts, spelled = vocabulary.facts, text.replace(" ", METASPACE)
    prefixed = facts.metaspace_prefix == "always" or (facts.metaspace_prefix == "first" and first)
    if not text or not prefixed or (facts.metaspace_prefix_once and spelled.startswith(METASPACE)):
        return spelled
    return METASPACE + spelled


def merge_marked(vocabulary: Vocabulary, spelled: str) -> list[int]:
    """Merge all of a marked text, fall back to bytes."""
    ids = vocabulary.ordinary()
    symbols = [c if c in ids else UNKNOWN + c for c in spelled]
    found: list[int] = []
    for token in merge(symbols, ordinary_merges(vocabulary)):
        if token.startswith(UNKNOWN):
            found += [vocabulary.byte_fallback[byte] for byte in token[1:].encode()]
        else:
            found.append(ids[token])
    return found


def encode_ordinary(vocabulary: Vocabulary, text: str) -> list[int]:
    """Encode ordinary text of a vocabulary with merges: find its text tokens, encode what is between them."""
    tokens, vocab = vocabulary.text_tokens.items(), vocabulary.map.vocab or {}
    raw = {name: token for name, token in tokens if not token.normalized}
    found: list[int] = []
    for number, part in enumerate(find_added(text, raw)):
        if isinstance(part, AddedToken):
            found.append(vocab[part.content])
        else:
            found += encode_stretch(vocabulary, part, first=number == 0)
    return found


def refuse_rules(vocabulary: Vocabulary) -> None:
    """Refuse a vocabulary whose texts are normalized by rules.

    Raises:
        TokenizerMapValidationError: it is one; there is no definition of its normalizer here.
    """
    if vocabulary.facts.normalizer == "rules":
        raise TokenizerMapValidationError(
            f'normalizer: the definitions have no form for the "rules" of {vocabulary.id}; '
            "`pick_tokenizer` encodes with them"
        )


def encode_stretch(vocabulary: Vocabulary, text: str, *, first: bool) -> list[int]:
    """Normalize a stretch of text, find the text tokens that are looked for in that, encode the rest."""
    refuse_rules(vocabulary)
    vocab, facts = vocabulary.map.vocab or {}, vocabulary.facts
    metaspace = vocabulary.map.encoder == "metaspace"
    # The reference marks spaces either as it normalizes, before it looks for tokens in normalized text, or as
    # it cuts, after that. Only the latter spares a text that begins with a space the prefix.
    marks_before = metaspace and not facts.metaspace_prefix_once

    def normalize(text: str, *, first: bool) -> str:
        text = text if facts.normalizer == "none" else unicodedata.normalize(_FORMS[facts.normalizer], text)
        return mark_spaces(vocabulary, text, first=first) if marks_before else text

    # Names are looked for as a text would begin with them, as the reference adds them to its search.
    late = {
        n if t.as_spelled else normalize(n, first=True): t
        for n, t in vocabulary.text_tokens.items()
        if t.normalized
    }
    found: list[int] = []
    for part in find_added(normalize(text, first=first), late):
        if isinstance(part, AddedToken):
            found.append(vocab[part.content])
        elif marks_before:
            found += merge_marked(vocabulary, part)
        elif metaspace:
            found += encode_metaspace(vocabulary, part, first=first)
        else:
            # What the map states, and not `facts`: byte-level vocabularies have no such prefix by default.
            prefixed = vocabulary.map.metaspace_prefix == "always" and not part.startswith(" ")
            found += encode_byte_level(vocabulary, " " + part if prefixed else part)
        first = False
    return found


def encode_longest_match(vocabulary: Vocabulary, text: str) -> list[int]:
    """Encode ordinary text without merges: the longest token at each place, or the bytes of a character."""
    refuse_rules(vocabulary)
    ids = vocabulary.ordinary()
    found: list[int] = []
    while text:
        token = max((token for token in ids if text.startswith(token)), key=len, default="")
        if token:
            found.append(ids[token])
        else:
            found += [vocabulary.byte_fallback[byte] for byte in text[0].encode()]
        text = text[len(token) or 1 :]
    return found


def decode(vocabulary: Vocabulary, ids: list[int]) -> str:
    """Decode a whole sequence: gather all bytes, then read them as UTF-8."""
    data = b""
    for token_id in ids:
        if not vocabulary.is_valid(token_id):
            data += "\ufffd".encode()
        elif token_id not in vocabulary.special_ids:
            data += vocabulary.token_bytes(token_id)
    text = data.decode("utf-8", "replace")
    if vocabulary.trims_all_spaces:
        return text.lstrip(" ")
    return text.removeprefix(" ") if vocabulary.trims_first_space else text


def find_added(text: str, tokens: Mapping[str, AddedToken]) -> list[str | AddedToken]:
    """Divide a text at the added tokens: the leftmost, the longest there, with the white space it takes."""
    parts: list[str | AddedToken] = []
    given = place = 0
    while place < len(text):
        name = max((name for name in tokens if text.startswith(name, place)), key=len, default="")
        if not name:
            place += 1
            continue
        start, token = place, tokens[name]
        place = stop = start + len(name)
        beside = text[start - 1 : start] + text[stop : stop + 1]
        if token.single_word and regex.search(r"\w", beside):
            continue
        # `place` stays behind the name: a token within the space that this one takes is found all the same.
        if token.lstrip:  # not what the one before it has taken
            start = max(len(text[:start].rstrip(WHITE_SPACE)), given)
        if token.rstrip:
            stop += len(text[stop:]) - len(text[stop:].lstrip(WHITE_SPACE))
        if given < start:
            parts.append(text[given:start])
        parts.append(token)
        given = stop
    return [*parts, text[given:]] if given < len(text) else parts
