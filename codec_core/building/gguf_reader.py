"""Read the metadata of a GGUF file: untrusted bytes, so every length is checked before it is believed.

The format is documented with ggml (docs/gguf.md): a header, then key-value pairs, then tensors, which are
never read here. Little-endian files of versions 2 and 3 are read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from codec_core.building.document import open_source
from codec_core.exceptions import MapBuildError

MAGIC = b"GGUF"
VERSIONS = (2, 3)

MAX_PAIRS = 10_000
"""Real files hold some dozens of pairs."""
MAX_STRING_BYTES = 16 * 1024 * 1024
"""The longest real string is a chat template of some 100 KiB."""
MAX_ARRAY_ITEMS = 2**20
"""The largest real vocabulary has some 260,000 tokens, and some 580,000 merges."""
MAX_METADATA_BYTES = 64 * 1024 * 1024
"""All pairs together. Those of the largest real vocabulary have some 20 MB."""

_CHUNK = 2**16

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}


class _Reader:
    """Take values off a file, and know where it is for messages."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._left = MAX_METADATA_BYTES

    def fault(self, what: str) -> MapBuildError:
        return MapBuildError(f"{self._path}: {what}, at byte {self._file.tell()}")

    def take(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise self.fault(f"the metadata has more than {MAX_METADATA_BYTES} bytes")
        data = self._file.read(size)
        if len(data) != size:
            raise self.fault(f"the file ends where {size} bytes should follow")
        return data

    def scalar(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self) -> str:
        try:
            return self.take(self._string_size()).decode()
        except UnicodeDecodeError:
            raise self.fault("a string is not UTF-8") from None

    def skip(self, kind: int) -> None:
        """Pass over a value: what is not wanted takes no memory."""
        if kind == _ARRAY:
            inner, count = self._array_head()
            if inner == _STRING:
                for _ in range(count):
                    self.skip(_STRING)
            else:
                self._pass(count * struct.calcsize(_SCALARS[inner]))
        elif kind == _STRING:
            self._pass(self._string_size())
        else:
            self.value(kind)

    def _pass(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, _CHUNK)))

    def _string_size(self) -> int:
        size: int = self.scalar("<Q")
        if size > MAX_STRING_BYTES:
            raise self.fault(f"a string of {size} bytes is longer than {MAX_STRING_BYTES}")
        return size

    def _array_head(self) -> tuple[int, int]:
        kind, count = self.scalar("<I"), self.scalar("<Q")
        if count > MAX_ARRAY_ITEMS:
            raise self.fault(f"an array of {count} items is longer than {MAX_ARRAY_ITEMS}")
        if kind != _STRING and kind not in _SCALARS:
            raise self.fault(f"arrays of type {kind} are not read")
        return kind, count

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        if kind not in _SCALARS:
            raise self.fault(f"unknown value type {kind}")
        return self.scalar(_SCALARS[kind])

    def array(self) -> list[Any]:
        kind, count = self._array_head()
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        form = _SCALARS[kind]
        data = self.take(count * struct.calcsize(form))
        return [value for (value,) in struct.iter_unpack(form, data)]


def read_gguf_metadata(path: str | Path, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Any]:
    """Return the key-value pairs of a GGUF file whose keys are wanted.

    Raises:
        MapBuildError: the file is not GGUF, is cut off, or states a length past the limits above.
    """
    with open_source(path) as file:
        return _read_pairs(_Reader(file, Path(path)), wanted)


def _read_pairs(reader: _Reader, wanted: Callable[[str], bool]) -> dict[str, Any]:
    if reader.take(4) != MAGIC:
        raise reader.fault("not a GGUF file: it does not begin with the letters GGUF")
    version = reader.scalar("<I")
    if version not in VERSIONS:
        raise reader.fault(f"GGUF version {version} is not read; versions {VERSIONS} are")
    reader.scalar("<Q")  # the number of tensors
    pairs = reader.scalar("<Q")
    if pairs > MAX_PAIRS:
        raise reader.fault(f"{pairs} pairs are more than {MAX_PAIRS}")
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = reader.string()
        kind = reader.scalar("<I")
        if key in found:
            raise reader.fault(f"the key {key!r} is there twice")  # llama.cpp does not load such a file
        if wanted(key):
            found[key] = reader.value(kind)
        else:
            reader.skip(kind)
    return found
