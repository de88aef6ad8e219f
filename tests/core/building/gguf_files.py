"""Write GGUF files for tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any


def gguf(pairs: Mapping[str, Any], version: int = 3) -> bytes:
    """Write the beginning of a GGUF file: header and pairs."""

    def string(text: str) -> bytes:
        data = text.encode()
        return struct.pack("<Q", len(data)) + data

    def value(content: Any) -> bytes:
        if isinstance(content, bool):
            return struct.pack("<I?", 7, content)
        if isinstance(content, str):
            return struct.pack("<I", 8) + string(content)
        assert isinstance(content, Sequence)
        kind, form = {str: (8, ""), int: (5, "<i"), float: (6, "<f")}[type(content[0])]
        items = [string(each) if kind == 8 else struct.pack(form, each) for each in content]
        return struct.pack("<IIQ", 9, kind, len(content)) + b"".join(items)

    body = b"".join(string(key) + value(content) for key, content in pairs.items())
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + body
