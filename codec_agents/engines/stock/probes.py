"""Texts on which two tokenizers that are not the same are likely to differ, made for one map.

Content is what users and tools write: no control token is spelled in it, because a template spells those and
content must not. Control tokens are compared by themselves, as templates write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

CONTENT = (
    "The quick brown fox jumps over 1234 lazy dogs.\n\ndef f(x):\n    return x + 1  # naïve 東京",
    "a:\n  1\n  2\n\tb  3   c    4\n\n\n5 \n 6\r\n7 \t x\n\n    y     z",
    "don't I'LL we've 'tis CamelCase snake_case x-y 1,234.56 1234567 3rd 0x1F $5 50% (a) [b] {c} !?! ... --",
    "<b>bold</b> <table><td>1</td></table> <br/> &amp; https://a.b/c?d=e#f user@host `code` \"q\" 'q' \\n",
    "é e\u0301 ß ñ Ω Ж א ع ก 한국어 日本語 中文 𝒳 😀 👩\u200d👩\u200d👧 ½ № \u00a0x",
)
"""Prose and code; white space runs before digits and letters; boundaries of pre-tokenizers; markup; scripts,
combining characters. Invisible characters are left out: engines differ there without harm."""

RARE_TOKENS = 48
"""Of the map's own tokens, in `probe`."""
RARE_TOKENS_FULL = 2000
"""In `full`; one in a hundred of a large map."""
IN_ONE_TEXT = 24
"""Rare tokens in one text: few enough that a difference shows which."""

CONTROL_IN_ONE_TEXT = 256

JOIN = "\n"
"""Between the parts of a text: every pre-tokenizer splits there, or all of them together do not."""


def content_texts(vocabulary: Vocabulary, *, full: bool) -> Iterator[str]:
    """Yield the texts of content. None of them spells a control token of the vocabulary."""
    for text in (*CONTENT, *_joined(list(vocabulary.text_tokens), "x{}y {}")):
        if not spells_control(text, vocabulary):
            yield text
    rare = _rare_tokens(vocabulary, RARE_TOKENS_FULL if full else RARE_TOKENS)
    yield from _joined([text for text in rare if not spells_control(text, vocabulary)], "{}")


def control_texts(vocabulary: Vocabulary, *, full: bool) -> Iterator[str]:
    """Yield texts that spell control tokens, between letters: all of them, or as many as one text holds."""
    names = list(vocabulary.special_tokens)
    if not full:  # maps reserve thousands that no template uses
        names = names[:: max(1, -(-len(names) // CONTROL_IN_ONE_TEXT))]
    for start in range(0, len(names), CONTROL_IN_ONE_TEXT):
        yield "".join(f"{name}a" for name in names[start : start + CONTROL_IN_ONE_TEXT])


def spells_control(text: str, vocabulary: Vocabulary) -> bool:
    """Return whether a text spells a control token."""
    return not vocabulary.special_ids.isdisjoint(pick_tokenizer(vocabulary).encode(text))


def _joined(parts: Sequence[str], form: str) -> Iterator[str]:
    for start in range(0, len(parts), IN_ONE_TEXT):
        yield JOIN.join(form.replace("{}", part) for part in parts[start : start + IN_ONE_TEXT])


def _rare_tokens(vocabulary: Vocabulary, number: int) -> Iterator[str]:
    """Yield texts of ordinary tokens, at even distances from the last id down; late ids are the rare ones."""
    # Twice as many are looked at, because control tokens and parts of characters have no text. Where nearly
    # all have one, the early half is left out, whose tokens are the common ones.
    step = max(1, vocabulary.size // (2 * number))
    texts = (_text_of(vocabulary, token) for token in range(vocabulary.size - 1, -1, -step))
    return islice(filter(None, texts), number)


def _text_of(vocabulary: Vocabulary, token: int) -> str:
    """Return the text of an ordinary token that is whole characters; empty for any other."""
    if not vocabulary.is_valid(token) or token in vocabulary.special_ids:
        return ""
    try:
        return vocabulary.token_bytes(token).decode()
    except UnicodeDecodeError:
        return ""
