"""The one place that hides secrets in texts: those of servers, of programs and of client libraries.

Each may repeat what it was sent, as it was or in one of the forms in which it travelled.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import ClassVar
from urllib.parse import quote

HIDDEN = "[secret]"

SHORTEST = 4
"""Shorter values are not hidden: they are no secrets, and hiding them would garble a server's message."""


class SecretTexts:
    """Secrets, and what is hidden of them. Printing it prints none of them."""

    __slots__ = ("_pattern", "longest")

    any_case: ClassVar[bool] = False
    """Whether secrets themselves are hidden whatever their case; their encoded forms are. The value of a
    variable may be a word, as `info`, and a program's `INFO` does not repeat it."""

    longest: int
    """Characters of the longest form in which a secret may occur; 0 without secrets."""

    def __init__(self, texts: Iterable[str]) -> None:
        parts = {part for text in texts for part in _parts(text)}
        encoded = {form for part in parts for form in _encoded_forms(part)}
        forms = parts | {form for form in encoded if len(form) >= SHORTEST}
        # The longest first: a form may begin with another one.
        by_length = sorted(forms, key=len, reverse=True)
        self.longest = len(by_length[0]) if by_length else 0
        exact = frozenset() if self.any_case else parts
        pattern = "|".join(
            re.escape(form) if form in exact else f"(?i:{re.escape(form)})" for form in by_length
        )
        self._pattern = re.compile(pattern) if pattern else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def hide(self, text: str) -> str:
        """Return a text with every secret in it replaced."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def occur_in(self, text: str) -> bool:
        """Return whether a text holds a secret."""
        return self._pattern is not None and self._pattern.search(text) is not None


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text with every one of these secrets in it replaced."""
    return SecretTexts(secrets).hide(text)


def _encoded_forms(text: str) -> Iterator[str]:
    """Yield the further forms in which a secret is sent, or comes back."""
    sent = _bytes_of(text)
    yield sent.decode("utf-8", "replace")
    yield quote(sent)
    yield quote(sent, safe="")
    yield json.dumps(text)[1:-1]
    yield repr(text)[1:-1]
    yield b64encode(sent).decode("ascii")


def _bytes_of(text: str) -> bytes:
    """Return a text as it is sent. In values of the environment, halves of surrogate pairs are raw bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # on Windows, where they are any halves
        return text.encode("utf-8", "surrogatepass")


def _parts(secret: str) -> Iterator[str]:
    """Yield what of a secret is hidden: the whole, without its scheme, without the space around, each line.

    The second part of a header such as `Bearer KEY` is a secret. Keys that are files have several lines and a
    line end, and logs and messages show them line by line.
    """
    for text in (secret, secret.partition(" ")[2]):
        for part in (text, text.strip(), *map(str.strip, text.splitlines())):
            if len(part) >= SHORTEST:
                yield part
