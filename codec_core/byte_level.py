"""GPT-2's byte alphabet: every byte as one printable character."""

from __future__ import annotations

import codecs

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]

ALPHABET = "".join(chr(byte) if byte in _PRINTABLE else chr(256 + _HIDDEN.index(byte)) for byte in range(256))
"""The character of each byte: itself where it is printable, else one from U+0100 on."""

_ENCODING_MAP = codecs.charmap_build(ALPHABET)


def decode_byte_level_token(raw_token: str) -> bytes:
    """Return the bytes that a byte-level token spells.

    A token with any character outside the alphabet was added as plain text: its bytes are UTF-8.
    """
    try:
        return codecs.charmap_encode(raw_token, "strict", _ENCODING_MAP)[0]
    except UnicodeEncodeError:
        return raw_token.encode("utf-8", "replace")


def encode_byte_level_chars(data: bytes) -> str:
    """Return bytes spelled in the byte alphabet."""
    return codecs.charmap_decode(data, "strict", ALPHABET)[0]
