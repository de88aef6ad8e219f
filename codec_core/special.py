"""Find special tokens in text: the leftmost, and the longest there, as the reference tokenizers do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from codec_core.unicode.classes import WHITE_SPACE
from codec_core.vocabulary import Vocabulary

Trie = dict[str, "Trie"]


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
    """Return a pattern that matches the longest name at a place, looking at each character once."""
    root: Trie = {}
    for name in names:
        node = root
        for character in name:
            node = node.setdefault(character, {})
        node[""] = {}
    return _spell(root)


def _spell(node: Trie) -> str:
    """Spell a trie as a pattern. Chains are followed in a loop, so long names do not nest."""
    head = ""
    while len(node) == 1 and "" not in node:
        character, node = next(iter(node.items()))
        head += re.escape(character)
    branches = [re.escape(character) + _spell(child) for character, child in node.items() if character]
    if not branches:
        return head
    return f"{head}(?:{'|'.join(branches)}){'?' if '' in node else ''}"
