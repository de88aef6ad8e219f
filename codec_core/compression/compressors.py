"""Writers of content encodings: one context per stream, flushed at every call so that no frame is held."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod

from codec_core.exceptions import CodecZstdDictError, MissingExtraError

GZIP_LEVEL = 6
BROTLI_QUALITY = 5
"""The level of compression. Streams are read once: above it, time grows faster than bytes shrink."""
ZSTD_LEVEL = 3


class Compressor(ABC):
    """Writes one body."""

    def feed(self, data: bytes) -> bytes:
        """Return the compressed bytes of `data`, flushed: a reader that has them has all of `data`.

        Each call costs a few bytes for the flush; gather what is ready into one call.
        """
        return self._write(bytes(data)) if data else b""

    @abstractmethod
    def _write(self, data: bytes) -> bytes: ...

    @abstractmethod
    def flush(self) -> bytes:
        """End the body and return its last bytes."""


class IdentityCompressor(Compressor):
    """Passes the body through."""

    def _write(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        """End the body and return nothing: the identity has no end mark."""
        return b""


class ZlibCompressor(Compressor):
    """Writes `gzip`, or `deflate` in its zlib wrapper."""

    def __init__(self, encoding: str) -> None:
        self._zlib = zlib.compressobj(GZIP_LEVEL, wbits=31 if encoding == "gzip" else 15)

    def _write(self, data: bytes) -> bytes:
        return self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def flush(self) -> bytes:
        """End the body and return its last bytes."""
        return self._zlib.flush()


class BrotliCompressor(Compressor):
    """Writes `br`."""

    def __init__(self) -> None:
        try:
            import brotli
        except ImportError:
            raise MissingExtraError("br", "brotli") from None
        self._brotli = brotli.Compressor(quality=BROTLI_QUALITY)

    def _write(self, data: bytes) -> bytes:
        compressed: bytes = self._brotli.process(data) + self._brotli.flush()
        return compressed

    def flush(self) -> bytes:
        """End the body and return its last bytes."""
        end: bytes = self._brotli.finish()
        return end


class ZstdCompressor(Compressor):
    """Writes `zstd` with a dictionary."""

    def __init__(self, dictionary: bytes) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("zstd", "zstandard") from None
        self._flush_block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        try:
            trained = zstandard.ZstdCompressionDict(dictionary)
            self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL, dict_data=trained).compressobj()
        except zstandard.ZstdError as error:
            raise CodecZstdDictError(f"the dictionary is not a zstd dictionary: {error}") from None

    def _write(self, data: bytes) -> bytes:
        compressed: bytes = self._zstd.compress(data) + self._zstd.flush(self._flush_block)
        return compressed

    def flush(self) -> bytes:
        """End the body and return its last bytes."""
        end: bytes = self._zstd.flush()
        return end
