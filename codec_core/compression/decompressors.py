"""Readers of content encodings: bytes in, bytes out, within a budget.

A body that would decompress past its budget raises before more than the budget and one step (see each
reader) is in memory. A body that ends before its own end mark is an error at `flush`, never a short result.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from codec_core.exceptions import (
    CodecZstdDictError,
    CompressionError,
    CorruptBodyError,
    DecompressionBudgetError,
    MissingExtraError,
    TruncatedBodyError,
)

DEFAULT_BUDGET = 16 * 1024 * 1024
"""The most bytes that a response decompresses to by default: a million ids in any format."""


class Decompressor(ABC):
    """Reads one body. An error is final: every later call raises it again."""

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._left = budget
        self._error: CompressionError | None = None

    def feed(self, data: bytes) -> bytes:
        """Return the decompressed bytes.

        Raises:
            CorruptBodyError: they are not what the encoding says.
            DecompressionBudgetError: the body is larger than its budget.
            CodecZstdDictError: it was compressed with another dictionary.
        """
        return self._guarded(lambda: self._read(bytes(data)) if data else b"")

    def flush(self) -> bytes:
        """End the body and return the bytes still held.

        Raises:
            TruncatedBodyError: the body ended before its own end mark.
        """
        return self._guarded(self._end)

    def _guarded(self, step: Any) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            result: bytes = step()
        except CompressionError as error:
            self._error = error
            raise
        return result

    def _spend(self, data: bytes) -> bytes:
        if len(data) > self._left:
            raise DecompressionBudgetError(self._budget)
        self._left -= len(data)
        return data

    @abstractmethod
    def _read(self, data: bytes) -> bytes:
        """Return the decompressed bytes of at least one byte."""

    def _end(self) -> bytes:
        return b""


class IdentityDecompressor(Decompressor):
    """Passes the body through, within the budget."""

    def _read(self, data: bytes) -> bytes:
        return self._spend(data)


class ZlibDecompressor(Decompressor):
    """Reads `gzip` and `deflate`; never makes more than one byte beyond the budget."""

    STEP = 16 * 1024
    """Bytes given to zlib at a time. The bytes that follow a member are copied, so there must be few."""

    MAX_MEMBERS = 2**14
    """The most members of a gzip body. Writers give each 64 KB or more; empty ones cost time but no
    budget."""

    def __init__(self, encoding: str, budget: int = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self._encoding = encoding
        self._begun = b""
        self._members = 1
        self._zlib: Any = zlib.decompressobj(wbits=31) if encoding == "gzip" else None

    def _read(self, data: bytes) -> bytes:
        if self._zlib is None:
            data, self._begun = self._begun + data, b""
            if len(data) < 2:  # two bytes tell whether there is a zlib header
                self._begun = data
                return b""
            self._zlib = zlib.decompressobj(wbits=15 if _has_zlib_header(data) else -15)
        steps = (data[at : at + self.STEP] for at in range(0, len(data), self.STEP))
        return b"".join([piece for step in steps for piece in self._members_of(step)])

    def _members_of(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._zlib.eof:
                self._next_member()
            yield self._inflate(data)
            data = self._zlib.unused_data

    def _inflate(self, data: bytes) -> bytes:
        try:
            # One byte more than is left tells a body past its budget. With less than that made, zlib has read
            # all of the input, so nothing is ever left over for the next call.
            return self._spend(self._zlib.decompress(data, self._left + 1))
        except zlib.error as error:
            raise CorruptBodyError(f"the body is not {self._encoding}: {error}") from None

    def _next_member(self) -> None:
        """A gzip body may have several members one after another; nothing may follow deflate."""
        if self._encoding != "gzip":
            raise CorruptBodyError(f"bytes follow the end of the {self._encoding} body")
        self._members += 1
        if self._members > self.MAX_MEMBERS:
            raise CorruptBodyError(f"the gzip body has more than {self.MAX_MEMBERS} members")
        self._zlib = zlib.decompressobj(wbits=31)

    def _end(self) -> bytes:
        if self._zlib is None or not self._zlib.eof:
            raise TruncatedBodyError(f"the {self._encoding} body ended before its end mark")
        return b""


def _has_zlib_header(data: bytes) -> bool:
    """Return whether `deflate` is in the zlib wrapper of the standard, or raw, as some servers send it."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


class BrotliDecompressor(Decompressor):
    """Reads `br`; never makes more than `STEP` beyond the budget."""

    STEP = 64 * 1024

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        try:
            import brotli
        except ImportError:
            raise MissingExtraError("br", "brotli") from None
        self._error_class = brotli.error
        self._brotli = brotli.Decompressor()

    def _read(self, data: bytes) -> bytes:
        if self._brotli.is_finished():
            raise CorruptBodyError("bytes follow the end of the br body")
        pieces = [self._process(data)]
        while not self._brotli.is_finished() and not self._brotli.can_accept_more_data():
            pieces.append(self._process(b""))
        return b"".join(pieces)

    def _process(self, data: bytes) -> bytes:
        try:
            return self._spend(self._brotli.process(data, output_buffer_limit=self.STEP))
        except self._error_class as error:
            raise CorruptBodyError(f"the body is not br: {error}") from None

    def _end(self) -> bytes:
        if not self._brotli.is_finished():
            raise TruncatedBodyError("the br body ended before its end mark")
        return b""


class ZstdDecompressor(Decompressor):
    """Reads `zstd` with the one dictionary it was given; never makes more than 2 MiB beyond the budget."""

    STEP = 64
    """Bytes given to zstd at a time: a block of at least four bytes gives at most 128 KiB."""

    MAX_WINDOW = 8 * 1024 * 1024
    """The largest window: what RFC 8878 advises for unknown senders."""

    def __init__(self, dictionary: bytes, budget: int = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError("zstd", "zstandard") from None
        self._error_class = zstandard.ZstdError
        try:
            self._context = zstandard.ZstdDecompressor(
                dict_data=zstandard.ZstdCompressionDict(dictionary), max_window_size=self.MAX_WINDOW
            )
            self._zstd: Any = self._context.decompressobj()
        except zstandard.ZstdError as error:
            raise CodecZstdDictError(f"the dictionary is not a zstd dictionary: {error}") from None
        self._begun = False

    def _read(self, data: bytes) -> bytes:
        steps = (data[at : at + self.STEP] for at in range(0, len(data), self.STEP))
        return b"".join([piece for step in steps for piece in self._frames_of(step)])

    def _frames_of(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._zstd.eof:
                self._zstd = self._context.decompressobj()
            self._begun = True
            yield self._spend(self._decompress(data))
            data = self._zstd.unused_data if self._zstd.eof else b""

    def _decompress(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._zstd.decompress(data)
        except self._error_class as error:
            # The package has one class for all errors: "Dictionary mismatch" is told by its text.
            if "ictionary" in str(error):
                raise CodecZstdDictError(
                    f"the body was compressed with another dictionary: {error}"
                ) from None
            raise CorruptBodyError(f"the body is not zstd: {error}") from None
        return piece

    def _end(self) -> bytes:
        if not self._begun or not self._zstd.eof:
            raise TruncatedBodyError("the zstd body ended before its end mark")
        return b""
