"""Ids that the gateway gives out: of answers, items and calls, and signatures of reasoning.

An id holds the number of its turn and an authentication code over it and the tenant. So one that comes back
says which of several equal turns is meant, and one that a client made up, or got from another client, says
nothing. Ids never replace content: they only choose among turns that are equal to what the client sent.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from typing import Final

NONCE_BYTES: Final = 8
CODE_BYTES: Final = 8
"""Of an authentication code. Guessing one takes 2**63 requests, and would choose among one's own turns."""
_BODY: Final = struct.Struct(f">{NONCE_BYTES}sH{CODE_BYTES}s")
MOST_NUMBERS: Final = 1 << 16


def new_secret() -> bytes:
    """Return the secret of a store, with which its ids are made."""
    return os.urandom(32)


def new_nonce() -> bytes:
    """Return the number of a turn that begins."""
    return os.urandom(NONCE_BYTES)


class Mint:
    """Makes and reads ids with the secret of one store."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new_id(self, prefix: str, tenant: bytes, nonce: bytes, number: int = 0) -> str:
        """Return an id.

        Args:
            prefix: its kind, in the API's words: `call_`, `toolu_`, `resp_`.
            tenant: the client that it is given to.
            nonce: the turn.
            number: tells ids of one turn apart; below `MOST_NUMBERS`.
        """
        body = _BODY.pack(nonce, number, self._code(tenant, nonce, number))
        return prefix + body.hex()

    def nonce_of(self, given: str, tenant: bytes) -> bytes | None:
        """Return the turn of an id that was given to this client; None for any other text."""
        try:
            body = bytes.fromhex(given[-2 * _BODY.size :])
            nonce, number, code = _BODY.unpack(body)
        except (ValueError, struct.error):
            return None
        return nonce if hmac.compare_digest(code, self._code(tenant, nonce, number)) else None

    def _code(self, tenant: bytes, nonce: bytes, number: int) -> bytes:
        said = nonce + number.to_bytes(2, "big") + tenant
        return hashlib.blake2b(said, key=self._secret, digest_size=CODE_BYTES).digest()
