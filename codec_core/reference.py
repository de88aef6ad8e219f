"""The same algorithms, written to be read: what the fast paths are held equal to by tests.

Nothing here is used at run time. Everything is the definition, word for word, and takes quadratic time.
"""

from __future__ import annotations

import regex

from codec_core.byte_level import encode_byte_level_chars
from codec_core.vocabulary import METASPACE, Vocabulary


def merge(symbols: list[str], merges: list[str]) -> list[str]:
    """Merge the pair that stands first in the list, at its leftmost place, until no listed pair is left."""
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
    """Return the merges that make no special token."""
    special = vocabulary.special_tokens
    return [pair for pair in vocabulary.map.merges or [] if pair.replace(" ", "") not in special]


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
        symbols = [c if c in ids else "\0" for c in spelled]
        found += [ids[token] for token in merge(symbols, merges) if token in ids]
    return found


def encode_metaspace(vocabulary: Vocabulary, text: str) -> list[int]:
    """Encode ordinary text: mark the spaces and the beginning, merge all of it, fall back to bytes."""
    if not text:
        return []
    ids = vocabulary.ordinary()
    spelled = text.replace(" ", METASPACE)
    if not (vocabulary.facts.metaspace_prefix_once and spelled.startswith(METASPACE)):
        spelled = METASPACE + spelled
    symbols = [c if c in ids else "\0" + c for c in spelled]
    found: list[int] = []
    for token in merge(symbols, ordinary_merges(vocabulary)):
        if token.startswith("\0"):
            found += [vocabulary.byte_fallback[byte] for byte in token[1:].encode()]
        else:
            found.append(ids[token])
    return found


def encode_longest_match(vocabulary: Vocabulary, text: str) -> list[int]:
    """Encode ordinary text without merges: the longest token at each place, or the bytes of a character."""
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
    return text.removeprefix(" ") if vocabulary.trims_first_space else text
