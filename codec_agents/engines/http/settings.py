"""How an engine over HTTP is reached."""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import SecretStr

MAX_CONNECTIONS = 2000
"""Streams at once over one engine; each holds a connection."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is reached. Printing it prints no key, no header's value and no password."""

    api_key: SecretStr | str | None = None
    """Sent as a bearer token."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Sent with every request."""
    proxy: str | None = None
    verify: bool | str = True
    """False accepts any certificate; a path names a file of trusted ones."""
    max_connections: int = MAX_CONNECTIONS
    keep_alive: bool = True
    """False opens a connection for each request, so that no answer can be taken for another request's."""
    transport: Literal["auto", "httpx", "aiohttp"] = "auto"
    """`httpx`, `aiohttp`, or `auto` for the faster one that can be used."""
    secrets: tuple[str, ...] = ()
    """Further texts that no output may repeat: the values of variables in the URL and the headers."""

    def __repr__(self) -> str:
        shown = (
            f"max_connections={self.max_connections}, transport={self.transport!r}, verify={self.verify!r}"
        )
        return f"HttpSettings(headers={sorted(self.headers)}, {shown})"

    def __post_init__(self) -> None:
        if isinstance(self.api_key, str):
            msgspec.structs.force_setattr(self, "api_key", SecretStr(self.api_key))

    @property
    def key(self) -> str | None:
        """The API key in the clear."""
        given = self.api_key.get_secret_value() if isinstance(self.api_key, SecretStr) else self.api_key
        # A key that was read from a file ends in a line feed, which no header can have: clients refuse it,
        # and log it as they do.
        return None if given is None else given.strip()
