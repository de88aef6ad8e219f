"""Find special tokens in text: the leftmost, and the longest there, as the reference tokenizers do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.unicode.classes import WHITE_SPACE
from codec_core.vocabulary import Vocabulary

Trie = dict[str, "Trie"]

MAX_NODES = 65_536
"""Characters of names, shared beginnings counted once: 30,000 numbered names have about as many."""

MAX_BRANCHES = 64
"""How deep the pattern may nest. Names of runs of one character, up to 31 of them, are in the field."""


class SpecialTokens:
    """Divides a text into special ids and the ordinary stretches between them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = vocabulary.special_tokens
        added = {token.content: token for token in vocabulary.facts.added_tokens}
        self._left = {name for name, token in added.items() if token.lstrip}
        self._right = {name for name, token in added.items() if token.rstrip}
        self._pattern = re.compile(_pattern_of(list(self._ids))) if self._ids else None

    def split(self, text: str) -> Iterator[str | int]:
        """Yield the non-empty stretches of ordinary text and the special ids, in order."""
        position = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            name = match.group()
            if match.start() < position:
                continue
            before = text[position : match.start()]
            if name in self._left:
                before = before.rstrip(WHITE_SPACE)
            if before:
                yield before
            yield self._ids[name]
            position = match.end()
            if name in self._right:
                position = len(text) - len(text[position:].lstrip(WHITE_SPACE))
        if position < len(text):
            yield text[position:]


def _pattern_of(names: list[str]) -> str:
    """Return a pattern that matches the longest name at a place, looking at each character once.

    Raises:
        TokenizerMapValidationError: the names are too many and too unlike for one pattern.
    """
    root: Trie = {}
    count = 0
    for name in names:
        node = root
        for character in name:
            if character not in node:
                count += 1
                node[character] = {}
            node = node[character]
        node[""] = {}
    if count > MAX_NODES:
        raise TokenizerMapValidationError(
            f"special_tokens: {count} characters that no two names share; at most {MAX_NODES} are read"
        )
    return _spell(root, 0)


def _spell(node: Trie, depth: int) -> str:
    """Spell a trie as a pattern. Chains are followed in a loop, so long names do not nest."""
    if depth > MAX_BRANCHES:
        raise TokenizerMapValidationError(
            f"special_tokens: more than {MAX_BRANCHES} names that begin alike, each a little further"
        )
    head = ""
    while len(node) == 1 and "" not in node:
        character, node = next(iter(node.items()))
        head += re.escape(character)
    branches = [
        re.escape(character) + _spell(child, depth + 1) for character, child in node.items() if character
    ]
    if not branches:
        return head
    return f"{head}(?:{'|'.join(branches)}){'?' if '' in node else ''}"
