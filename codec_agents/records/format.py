"""The form of a record's lines: one JSON object per line, sealed by a checksum and a chained hash.

A sealed line ends with `"sum"`, the CRC-32 of the rest of the line, and `"chain"`, a hash of that and of the
chain before it. The sum shows which line was damaged; the chain shows changed, lost, added and reordered
lines. Both find accidents. They are no signature: a program that rewrites the whole file can seal it anew.
"""

from __future__ import annotations

import re
from hashlib import sha256
from zlib import crc32

RECORD_VERSION = 3
"""Written in the first line. Version 1 had no lines of functions and decisions; version 2 had no seals."""

FIRST_SEALED_VERSION = 3

FIRST_BYTES = b'{"kind":"run","version":'
"""How the first line of a sealed record begins, as all writers of records write it."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused on reading: a prompt of a million ids takes 8 MiB."""

MAX_LEVELS = 200
"""Levels of a value in a line: arguments of calls have at most 64, and a line itself has three. What shows a
record, or copies it, takes three calls for each, of the thousand that Python allows."""

_SEAL = re.compile(rb',"sum":"([0-9a-f]{8})","chain":"([0-9a-f]{16})"\}\n')
_SEAL_BYTES = len(b',"sum":"","chain":""}\n') + 8 + 16
_CHAIN_BYTES = 8
"""64 bits: enough to find an accident, and short beside a line with one id."""


class BrokenSealError(Exception):
    """A line is not the one that was sealed; the message names the fault."""


class Chain:
    """The running hash over the lines of one record."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = bytes(_CHAIN_BYTES)

    @property
    def value(self) -> str:
        """The hash of all lines so far, in hexadecimal."""
        return self._value.hex()

    def seal(self, document: bytes) -> bytes:
        """Return the line of a JSON object that has at least one field; the chain grows by it."""
        body = document[:-1]
        self._extend(body)
        return b'%s,"sum":"%08x","chain":"%s"}\n' % (body, crc32(body), self.value.encode())

    def verify(self, line: bytes) -> None:
        """Extend the chain by a sealed line.

        Raises:
            BrokenSealError: The line was changed, or it does not follow the line before.
        """
        # At the end of the line alone: a text in it may spell a seal.
        found = _SEAL.fullmatch(line, max(0, len(line) - _SEAL_BYTES))
        if found is None:
            raise BrokenSealError("it has no checksum")
        body = line[: found.start()]
        # The sum before the chain: it tells the line that was changed from those that follow it.
        if int(found[1], 16) != crc32(body):
            raise BrokenSealError("its checksum does not match its content")
        self._extend(body)
        if found[2].decode() != self.value:
            raise BrokenSealError("lines before it are missing, changed or out of order")

    def _extend(self, body: bytes) -> None:
        self._value = sha256(self._value + body).digest()[:_CHAIN_BYTES]


def is_sealed(line: bytes) -> bool:
    """Return true if a line ends with a seal, whatever its content."""
    return _SEAL.fullmatch(line, max(0, len(line) - _SEAL_BYTES)) is not None
