"""The longest token at each place: the encoding of maps that have no merges.

The tokens are sorted. Of all tokens that begin a text, the longest is the last token that is not after the
text in this order, or a token that begins that one: whatever lies between a beginning of a text and the text
begins alike. So one binary search finds it, however long the tokens are.
"""

from __future__ import annotations

from bisect import bisect_right

from codec_core.byte_level import encode_byte_level_chars
from codec_core.exceptions import TokenizerMapValidationError, UnencodableTextError
from codec_core.vocabulary import Vocabulary

MAX_TOKEN = 1024
"""The most characters of a token. Known vocabularies have none of more than 256. Each place of a text may be
compared with as many characters, so the limit bounds the work."""


class LongestMatcher:
    """Divides a text into the longest tokens from left to right."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Sort the ordinary tokens of a vocabulary.

        Raises:
            TokenizerMapValidationError: a token is longer than `MAX_TOKEN`.
        """
        self._vocabulary = vocabulary
        self._by_bytes = vocabulary.map.encoder == "byte_level"
        self._fallback = vocabulary.byte_fallback
        # The empty token would begin every text and take none of it.
        self._ids = {token: number for token, number in vocabulary.ordinary().items() if token}
        self._tokens = sorted(self._ids)
        self._longest_token = longest = max(map(len, self._tokens), default=0)
        if longest > MAX_TOKEN:
            raise TokenizerMapValidationError(
                f"vocab: a token has {longest} characters; without merges the limit is {MAX_TOKEN}"
            )
        self._shorter, self._jumps = _beginnings(self._tokens)

    def spell(self, text: str) -> str:
        """Return the text in the spelling of the tokens."""
        return encode_byte_level_chars(text.encode()) if self._by_bytes else text

    def match(self, text: str, *, final: bool) -> tuple[list[int], int]:
        """Return ids and the number of characters that they cover.

        If the text is not `final`, these are only the ids that no continuation can change.

        Raises:
            UnencodableTextError: a character has no token and the vocabulary no bytes to fall back to.
        """
        ids: list[int] = []
        place = 0
        while place < len(text):
            ahead = text[place : place + self._longest_token]
            after = bisect_right(self._tokens, ahead)
            # With as many characters ahead as the longest token has, a continuation changes nothing.
            if not final and place + len(ahead) == len(text) and self._may_grow(ahead, after):
                break
            token = self._longest_beginning(ahead, after - 1)
            ids += [self._ids[token]] if token else self._fall_back(text[place])
            place += len(token) or 1
        return ids, place

    def _may_grow(self, ahead: str, after: int) -> bool:
        """Return whether the rest of the text is the beginning of a longer token."""
        return after < len(self._tokens) and self._tokens[after].startswith(ahead)

    def _longest_beginning(self, ahead: str, at: int) -> str:
        """Return the longest token that begins a text, given the last token that is not after it."""
        tokens, shorter, jumps = self._tokens, self._shorter, self._jumps
        if at < 0:
            return ""
        common = _common(tokens[at], ahead)
        while at >= 0 and len(tokens[at]) > common:
            jump = jumps[at]
            at = jump if jump >= 0 and len(tokens[jump]) > common else shorter[at]
        return tokens[at] if at >= 0 else ""

    def _fall_back(self, character: str) -> list[int]:
        if self._fallback:
            return [self._fallback[byte] for byte in character.encode()]
        raise UnencodableTextError(
            f"vocabulary {self._vocabulary.id} has no token for {character!r}, nor for its bytes"
        )


def _beginnings(tokens: list[str]) -> tuple[list[int], list[int]]:
    """Return, for each token, the longest other token that begins it, and a jump to a shorter one; or -1.

    The lengths of the jumps follow the skew binary numbers. So any of the n tokens that begin a token is
    reached in O(log n) steps, also where tokens are nested a thousand deep.
    """
    shorter: list[int] = []
    jumps: list[int] = []
    depths: list[int] = []
    open_tokens: list[int] = []
    for number, token in enumerate(tokens):
        while open_tokens and not token.startswith(tokens[open_tokens[-1]]):
            open_tokens.pop()
        parent = open_tokens[-1] if open_tokens else -1
        open_tokens.append(number)
        shorter.append(parent)
        depths.append(depths[parent] + 1 if parent >= 0 else 0)
        jumps.append(_jump(parent, jumps, depths))
    return shorter, jumps


def _jump(parent: int, jumps: list[int], depths: list[int]) -> int:
    if parent < 0 or jumps[parent] < 0:
        return parent
    first = jumps[parent]
    second = jumps[first]
    if second >= 0 and depths[parent] - depths[first] == depths[first] - depths[second]:
        return second
    return parent


def _common(token: str, text: str) -> int:
    """Return the length of the common beginning of two texts."""
    if text.startswith(token):
        return len(token)
    # By halves: a few comparisons in C, where a loop would look at up to `MAX_TOKEN` characters.
    low, high = 0, min(len(token), len(text))
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(token[:middle]):
            low = middle
        else:
            high = middle - 1
    return low
