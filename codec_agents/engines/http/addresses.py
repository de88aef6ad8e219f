"""The URL of an engine: what users write there, and the origin that paths are appended to."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TypeAlias

import httpx

Login: TypeAlias = tuple[str, str]
"""A user and a password."""

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions/codec",
    "/v1/completions",
    "/chat/completions",
    "/inference/v1/generate",
    "/completions",
    "/completion",
    "/generate",
    "/tokenize",
    "/v1/models",
    "/health",
    "/v1",
)
"""Ends of URLs that name a call of an engine rather than the engine; longer ones before their own ends."""


_UNREADABLE = "the url of the engine, or of its proxy, cannot be read"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where an engine is: every path of its API is appended to `base`."""

    base: str
    """Scheme, host, port, and a path if the engine lies below one; without a slash at its end."""
    query: str
    """What follows the path of every request, with its `?`; mostly empty."""
    host: str
    port: int
    endpoint: str
    """The call that the declared URL named, `/v1` for one; mostly empty."""
    login: Login | None

    def __repr__(self) -> str:
        return "Address()"  # a path, a query or a login may hold a secret

    def of(self, path: str) -> str:
        """Return the URL of a path."""
        if not self.query:
            return self.base + path
        return f"{self.base}{path}{'&' + self.query[1:] if '?' in path else self.query}"


def read_address(url: str) -> Address:
    """Return the address that a URL means: with or without `/v1`, a trailing slash or a call's path.

    Raises:
        ValueError: it cannot be read as a URL. The message does not repeat it, since it may hold a secret.
    """
    plain, login = without_login(url.strip())
    parsed = httpx.URL(plain)
    try:
        # Connecting would fail in the same way, with an error that is no engine's: a label of more than 63
        # characters, an empty one, or one that IDNA does not have.
        known = bool(parsed.host) and bool(parsed.raw_host.decode("ascii").encode("idna"))
    except UnicodeError:
        raise ValueError(_UNREADABLE) from None
    if parsed.scheme not in ("http", "https") or not known:
        raise ValueError("the url of the engine has to begin with http:// or https:// and name a host")
    base, mark, query = plain.partition("?")
    base = base.partition("#")[0].rstrip("/")
    endpoint = next((end for end in ENDPOINTS if base.endswith(end)), "")
    # "http://generate" ends with a name that looks like a call: only what follows the host is a path.
    if len(base.removesuffix(endpoint)) <= len(parsed.scheme) + len("://"):
        endpoint = ""
    base = base.removesuffix(endpoint).rstrip("/")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    return Address(base, mark + query, parsed.host, port, endpoint, login)


def without_login(url: str) -> tuple[str, Login | None]:
    """Return a URL without user and password, and those: clients differ in what they do with them.

    Raises:
        ValueError: it is no URL. The library's own message would repeat it, and there may be a secret in it.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError(_UNREADABLE) from None
    if not parsed.userinfo:
        return url, None
    scheme, _, rest = url.partition("://")
    # A login ends before the path and the query, which may hold an "@" of their own.
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    plain = place.rpartition("@")[2] + rest[len(place) :]
    return f"{scheme}://{plain}", (parsed.username, parsed.password)


def basic_login(user: str, password: str) -> str:
    """Return the `Authorization` header for a user and a password."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")
