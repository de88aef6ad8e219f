"""Text to ids while it streams: the ids of the whole text, whatever the cuts.

A translation from the vocabulary of bytes is exactly that, so this is one.
"""

from __future__ import annotations

import json
from functools import cache

from codec_core.maps import TokenizerMap, parse_map
from codec_core.translator import Translator
from codec_core.vocabulary import Vocabulary


class TextEncoder:
    """Encodes one text, as it comes, with special tokens disabled."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._translator = Translator(_bytes_map(), vocabulary)

    def feed(self, text: str) -> list[int]:
        """Return the ids that no later text can change."""
        return self._translator.feed(list(text.encode()))

    def flush(self) -> list[int]:
        """Return the rest."""
        return self._translator.flush()


@cache
def _bytes_map() -> TokenizerMap:
    """A vocabulary whose ids are the bytes."""
    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)}
    document = {
        "id": "bytes",
        "version": "2",
        "vocab_size": 256,
        "encoder": "metaspace",  # whose maps have tokens for single bytes
        "vocab": vocab,
        "merges": [],
        "byte_fallback_start": 0,
        "byte_fallback_end": 255,
    }
    return parse_map(json.dumps(document).encode())
