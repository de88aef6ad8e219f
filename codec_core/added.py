"""Find added tokens in text, as the reference tokenizers do.

The rules:

* The leftmost token is found, and of those that begin there the longest; matches do not overlap.
* A match that has to be a whole word and is not one is passed over with all that it covers.
* White space that a token takes leaves no ids. A token that begins in white space that the one before it
  takes is found all the same.
* In a stream, nothing is given out that a continuation of the text could change.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from msgspec import Struct

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import AddedToken
from codec_core.unicode.classes import WHITE_SPACE, char_class, shadow
from codec_core.vocabulary import Vocabulary

Part = str | int
"""A non-empty stretch of text, or the id of an added token."""

Trie = dict[str, "Trie"]

MAX_NODES = 65_536
"""Characters of names, shared beginnings counted once: 30,000 numbered names have about as many."""

MAX_BRANCHES = 64
"""The depth to which the pattern may nest: `re` compiles groups by recursion. Runs of one character do not
nest."""


class AddedTokens:
    """The added tokens of one vocabulary that are looked for in the same pass.

    Attributes:
        tokens: by the text that is looked for, the token's id and how it is found.
        search: returns the first match in a text, from a place on.
        longest: the most characters that a token has.
        may_take_space_before: whether a token takes the white space before it.
        has_single_words: whether a token is found only as a whole word.
    """

    def __init__(self, tokens: Mapping[str, tuple[int, AddedToken]]) -> None:
        """Compile the search for the tokens.

        Raises:
            TokenizerMapValidationError: the names are too many and too unlike for one pattern.
        """
        self.tokens = tokens
        pattern = re.compile(_pattern_of(tokens))
        self.find: Callable[[str], Iterator[re.Match[str]]] = pattern.finditer
        self.search = pattern.search
        self.longest = max(map(len, tokens))
        self.may_take_space_before = any(found.lstrip for _, found in tokens.values())
        self.has_single_words = any(found.single_word for _, found in tokens.values())
        self._sorted = sorted(tokens)
        self._firsts = frozenset(name[0] for name in tokens)  # most characters begin no name: tested first

    def split(self, text: str) -> list[Part]:
        """Return the stretches of a whole text and the ids between them, in order."""
        if self.search(text) is None:  # most texts hold none
            return [text] if text else []
        return AddedTokenStream(self).finish(text)

    def first_open(self, text: str, start: int, stop: int) -> int | None:
        """Return the first place from `start` to `stop` at which a token may begin that the text cuts off."""
        names, firsts = self._sorted, self._firsts
        for place in range(start, stop):
            if text[place] not in firsts:
                continue
            # All names that begin with the rest of the text follow it in order, the first one directly.
            rest = text[place:]
            after = bisect_right(names, rest)
            if after < len(names) and names[after].startswith(rest):
                return place
        return None


class AddedTokenStream:
    """Finds added tokens in a text that arrives in parts.

    Concatenated, what `feed` and `finish` return is what `AddedTokens.split` returns for the whole text, but
    that a stretch may come in several parts.
    """

    __slots__ = ("_added", "_after_word", "_blank", "_drops_space", "_held")

    def __init__(self, added: AddedTokens) -> None:
        self._added = added
        self._start()

    def _start(self) -> None:
        self._held = ""  # the end of the text: it may be the beginning of a token
        self._blank: list[str] = []  # white space before that, which the next token may take
        self._drops_space = False  # whether the last token takes what follows
        self._after_word = False  # whether a word character is before `_held`

    @property
    def held(self) -> str:
        """Return the text that is held."""
        return "".join(self._blank) + self._held

    def feed(self, text: str) -> list[Part]:
        """Return the stretches and ids that no continuation of the text can change."""
        return self._read(self._held + text, final=False)

    def finish(self, text: str = "") -> list[Part]:
        """End the text with this last part; return the rest. The stream is then ready for another text."""
        parts = self._read(self._held + text, final=True)
        self._start()
        return parts

    def _read(self, text: str, *, final: bool) -> list[Part]:
        added, parts = self._added, list[Part]()
        given = searched = 0  # where the text begins that was not given out; where the last match ended
        # What the end cuts off is shorter than the longest name.
        may_open = len(text) if final else max(0, len(text) - added.longest + 1)
        end: int | None = None
        for match in added.find(text):
            start, stop = match.span()
            # A name that the end cuts off wins over this match if it begins before it, or here and is longer.
            end = added.first_open(text, max(searched, may_open), start + 1)
            if end is not None:
                break
            token_id, token = added.tokens[match.group()]
            searched = stop
            if token.single_word:
                if stop == len(text) and not final:
                    end = start  # the next character decides
                    break
                if self._is_in_word(text, start, stop):
                    continue
            self._give(parts, text[given:start], token_id, token)
            given = stop
        if end is None:
            end = added.first_open(text, max(searched, may_open), len(text))
        self._hold(parts, text, given, len(text) if end is None else end, final=final)
        return parts

    def _is_in_word(self, text: str, start: int, stop: int) -> bool:
        before = is_word(text[start - 1]) if start else self._after_word
        return before or (stop < len(text) and is_word(text[stop]))

    def _give(self, parts: list[Part], before: str, token_id: int, token: AddedToken) -> None:
        """Give out a token and the text between it and the last one."""
        if self._blank:
            before = "".join(self._blank) + before
            self._blank.clear()
        if self._drops_space:  # the token before takes what is behind it
            before = before.lstrip(WHITE_SPACE)
        if token.lstrip:
            before = before.rstrip(WHITE_SPACE)
        if before:
            parts.append(before)
        parts.append(token_id)
        self._drops_space = token.rstrip

    def _hold(self, parts: list[Part], text: str, given: int, end: int, *, final: bool) -> None:
        """Give out the text between the last token and `end`, but for white space that a token may take."""
        self._held = text[end:]
        if end and self._added.has_single_words:  # without text, the last character stays the same
            self._after_word = is_word(text[end - 1])
        rest = text[given:end]
        # White space is dropped up to the first other character, however many parts it arrives in.
        if self._drops_space:
            rest = rest.lstrip(WHITE_SPACE)
            self._drops_space = not rest
        kept = rest if final or not self._added.may_take_space_before else rest.rstrip(WHITE_SPACE)
        if kept or (final and self._blank):
            parts.append("".join(self._blank) + kept)
            self._blank.clear()
        if len(kept) < len(rest):
            self._blank.append(rest[len(kept) :])


class Passes(Struct, frozen=True):
    """The two passes in which added tokens are looked for: in the text as it is, then in normalized text."""

    raw: AddedTokens | None
    normalized: AddedTokens | None


def passes_of(vocabulary: Vocabulary, normalize: Callable[[str], str], *, control: bool) -> Passes | None:
    """Return the passes over texts of a vocabulary; None where nothing is looked for.

    Args:
        vocabulary: whose tokens are looked for.
        normalize: returns the form of a name in normalized text.
        control: whether control tokens are read too, or text tokens alone.

    Raises:
        TokenizerMapValidationError: normalization leaves nothing of a name, or there are too many names.
    """
    found: dict[str, AddedToken] = dict(vocabulary.text_tokens)
    if control:
        found |= vocabulary.control_tokens()
    vocab = vocabulary.map.vocab or {}
    raw: dict[str, tuple[int, AddedToken]] = {}
    late: dict[str, tuple[int, AddedToken]] = {}
    for name, token in found.items():
        token_id = vocabulary.special_tokens.get(name)  # a control token need not be in `vocab`
        entry = (vocab[name] if token_id is None else token_id, token)
        if token.normalized:
            form = name if token.as_spelled else normalize(name)
            if not form:
                raise TokenizerMapValidationError(
                    f"added tokens: nothing is left of {name!r} once it is normalized, so no text can hold it"
                )
            # Two names may be the same once normalized; the reference finds the first of them.
            late.setdefault(form, entry)
        else:
            raw[name] = entry
    if not (raw or late):
        return None
    return Passes(AddedTokens(raw) if raw else None, AddedTokens(late) if late else None)


@cache
def _words() -> Callable[[str], object]:
    r"""Return the test that a character belongs to a word, as `\w` is defined for Unicode.

    These are letters, marks, decimal digits, letter numbers, connectors, the other alphabetic symbols and the
    two joiners. The classes end at U+FFFF; `shadow` brings the characters beyond it there.
    """
    classes = "".join(map(char_class, ("L", "M", "Nd", "Nl", "Pc")))
    return re.compile(f"[{classes}\u24b6-\u24e9\u200c\u200d]").match


_ASTRAL_SYMBOLS = re.compile("[\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189]").match
"""Symbols beyond U+FFFF that are alphabetic. Their general category does not tell."""


def is_word(character: str) -> bool:
    """Return whether a character belongs to a word: a letter, mark, digit, connector, or taken for one."""
    if character.isascii():
        return character.isalnum() or character == "_"
    return bool(_words()(shadow(character)) or _ASTRAL_SYMBOLS(character))


def _pattern_of(names: Iterable[str]) -> str:
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
        node[""] = {}  # the end of a name, as a key that no character is
    if count > MAX_NODES:
        raise TokenizerMapValidationError(
            f"added tokens: {count} characters that no two names share; at most {MAX_NODES} are read"
        )
    return _spell(root, 0)


def _spell(node: Trie, depth: int) -> str:
    """Spell a trie as a pattern. Chains are followed in a loop, so long names do not nest."""
    if depth > MAX_BRANCHES:
        raise TokenizerMapValidationError(
            f"added tokens: more than {MAX_BRANCHES} names that begin alike, each a little further"
        )
    head = ""
    while len(node) == 1 and "" not in node:
        character, node = next(iter(node.items()))
        head += re.escape(character)
    # A run such as 2 to 31 newlines would nest as deep as it is long; a counted repetition does not.
    count, last = _run_of(node)
    if count > 1:
        (character,) = node.keys() - {""}
        run, after = re.escape(character), _spell(last, depth + 1)
        return f"{head}(?:{run}{{{count}}}{after}|{run}{{0,{count - 1}}})"
    branches = [
        re.escape(character) + _spell(child, depth + 1) for character, child in node.items() if character
    ]
    if not branches:
        return head
    return f"{head}(?:{'|'.join(branches)}){'?' if '' in node else ''}"


def _run_of(node: Trie) -> tuple[int, Trie]:
    """Return how often the same character follows, ending a name each time, and what is after the last."""
    count = 0
    character = next((key for key in node if key), "")
    while len(node) == 2 and "" in node and character in node:
        count, node = count + 1, node[character]
    return count, node
