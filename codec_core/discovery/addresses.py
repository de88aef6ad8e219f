"""The hosts that a pointer or a redirect may lead to.

A document names URLs that its author chose. Followed unchecked, they let an origin on the internet make this
process send requests to services that only its own network reaches. So an address that is not public is
refused, unless the caller's own URL names the same host or the caller passes `allow_private`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from codec_core.exceptions import CodecError

Address = IPv4Address | IPv6Address

_EMBEDS: Final = tuple(map(IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
"""IPv6 addresses whose last 32 bits are an IPv4 address: those of NAT64, compatible and translated ones."""

_NUMBER: Final = re.compile("0[xX][0-9a-fA-F]+|[0-9]+")

_LOCAL: Final = tuple(map(IPv6Network, ("64:ff9b:1::/48", "fec0::/10")))
"""Addresses for use within one network that some versions of Python call global."""


@dataclass(frozen=True)
class Destinations:
    """The hosts that one download may connect to.

    Attributes:
        asked: the URL that the caller gave; its host is allowed, whatever its address.
        allow_private: whether all addresses are allowed.
        look_up: returns the addresses of a name, which are judged; None where the connection may take another
            way than from this process, as with the caller's client. A name whose answer changes between the
            look-up and the connection is not caught: where that matters, use a proxy that judges.
    """

    asked: str
    allow_private: bool
    look_up: Callable[[str], Awaitable[list[str]]] | None

    async def check(self, url: str, host: str, error: type[CodecError]) -> None:
        """Check the host of a URL.

        Args:
            url: the URL, for the message.
            host: its host in ASCII, as it is connected to.
            error: the error to raise.

        Raises:
            CodecError: of the class `error`: the host is or has a private, loopback or link-local address.
        """
        if self.allow_private or self._is_asked(host):
            return
        for address in await self._addresses(host):
            if not _is_public(address):
                raise error(
                    f"{url[:200]} leads to {host} at {address}, which is not a public address; "
                    "pass allow_private=True if that is meant"
                )

    def _is_asked(self, host: str) -> bool:
        asked = (urlsplit(self.asked).hostname or "").lower()
        return host.lower() == asked or (_is_loopback(host) and _is_loopback(asked))

    async def _addresses(self, host: str) -> list[Address]:
        literal = _literal(host)
        if literal is not None:
            return [literal]
        found = await self.look_up(host) if self.look_up else []
        return [ip_address(text.partition("%")[0]) for text in found]


async def addresses_of(name: str) -> list[str]:
    """Return the addresses of a name. An unknown name has none: connecting to it fails with the reason."""
    import anyio

    try:
        return [str(entry[4][0]) for entry in await anyio.getaddrinfo(name, None)]
    except (OSError, UnicodeError):
        return []


def _literal(host: str) -> Address | None:
    """Return the address that a host spells in any form that resolvers read; None for a name."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(name.partition("%")[0])
    except ValueError:
        pass
    return _old_form(name)


def _old_form(name: str) -> IPv4Address | None:
    """Return the address that resolvers read in `0x7f.1`, `0177.0.0.1` or `2130706433`; None for a name."""
    parts = name.split(".")
    # As C reads numbers. `int` alone would also read digits of other scripts, `1_0` and `0b1`.
    if not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        # `int` without a base refuses the 0 that begins an octal one.
        *head, last = [int(part, 8 if part[0] == "0" and part.isdigit() else 0) for part in parts]
    except ValueError:
        return None
    width = 8 * (4 - len(head))  # the last part fills all bytes that the others leave
    if len(parts) > 4 or any(not 0 <= number < 256 for number in head) or not 0 <= last < 1 << width:
        return None
    return IPv4Address(last + sum(number << 8 * (3 - place) for place, number in enumerate(head)))


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return address is not None and address.is_loopback


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if any(address in network for network in _EMBEDS):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
        if any(address in network for network in _LOCAL):
            return False
    return address.is_global and not address.is_multicast
