"""Loading safety policies and version policies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from codec_core.discovery.documents import (
    SafetyPolicyPointer,
    check_pointer,
    parse_json,
    pinned_hash,
    read_document,
    well_known_policy_hash_url,
    well_known_policy_url,
    well_known_version_policy_url,
)
from codec_core.discovery.fetch import DEFAULT_TIMEOUT, Errors, fetch
from codec_core.exceptions import (
    MapDiscoveryNotFoundError,
    SafetyPolicyDiscoveryError,
    SafetyPolicyDiscoveryNotFoundError,
    SafetyPolicyHashMismatchError,
    SafetyPolicyValidationError,
    VersionPolicyError,
)
from codec_core.safety import SafetyPolicyDescriptor, descriptor_from_json, hash_safety_policy
from codec_core.versions import CodecVersionPolicyDocument, parse_version_policy_document

if TYPE_CHECKING:
    import httpx

_ERRORS = Errors(SafetyPolicyDiscoveryError, SafetyPolicyDiscoveryNotFoundError)


class SafetyPolicyCache:
    """Keeps policies by key: a hash, or what the caller says. This one keeps nothing."""

    async def get(self, key: str) -> SafetyPolicyDescriptor | None:  # noqa: ARG002 - for subclasses
        """Return the policy under this key, or None."""
        return None

    async def set(self, key: str, descriptor: SafetyPolicyDescriptor) -> None:
        """Keep a policy under this key."""


class MemorySafetyPolicyCache(SafetyPolicyCache):
    """Keeps policies in this process; nothing is evicted."""

    def __init__(self) -> None:
        self._policies: dict[str, SafetyPolicyDescriptor] = {}

    async def get(self, key: str) -> SafetyPolicyDescriptor | None:
        """Return the policy under this key, or None."""
        return self._policies.get(key)

    async def set(self, key: str, descriptor: SafetyPolicyDescriptor) -> None:
        """Keep a policy under this key."""
        self._policies[key] = descriptor


async def load_safety_policy(
    *,
    url: str,
    hash: str | None = None,  # noqa: A002 - the existing client's name
    cache: SafetyPolicyCache | None = None,
    client: httpx.AsyncClient | None = None,
    cache_key: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> SafetyPolicyDescriptor:
    """Return the safety policy at a URL, or the one that the cache has.

    With `hash`, the served bytes or the descriptor's canonical bytes must have it.

    Raises:
        SafetyPolicyDiscoveryNotFoundError: there is nothing at the URL.
        SafetyPolicyDiscoveryError: the URL, the hash or the document is malformed or too large.
        SafetyPolicyHashMismatchError: the policy has another hash.
        SafetyPolicyValidationError: it is not a policy.
        httpx.HTTPError: the connection failed or timed out.
    """
    if hash is not None:
        hash = pinned_hash(hash, SafetyPolicyDiscoveryError)  # noqa: A001 - the same, written one way
    key = cache_key or hash or url
    cached = await cache.get(key) if cache is not None else None
    if cached is not None and hash in (None, key, hash_safety_policy(cached)):
        return cached
    data = await fetch(url, client=client, timeout=timeout, errors=_ERRORS)
    return await _accept(data, parse_json(data, url, SafetyPolicyDiscoveryError), hash, key, cache)


async def discover_safety_policy(
    *,
    origin: str,
    id: str,  # noqa: A002 - the existing client's name
    hash: str | None = None,  # noqa: A002 - the existing client's name
    cache: SafetyPolicyCache | None = None,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> SafetyPolicyDescriptor:
    """Return the safety policy that an origin publishes under an id, or under a hash where one is given.

    The origin answers with the policy, or with a pointer to it; pointers do not chain.

    Raises:
        SafetyPolicyDiscoveryNotFoundError: the origin does not have it.
        SafetyPolicyDiscoveryError: the document is malformed, too large, for another id, or leads astray.
        SafetyPolicyHashMismatchError: the policy has another hash.
        SafetyPolicyValidationError: it is not a policy.
        httpx.HTTPError: the connection failed or timed out.
    """
    url = well_known_policy_url(origin, id)
    if hash is not None:
        hash = pinned_hash(hash, SafetyPolicyDiscoveryError)  # noqa: A001 - the same, written one way
        url = well_known_policy_hash_url(origin, hash.removeprefix("sha256:"))
        cached = await cache.get(hash) if cache is not None else None
        if cached is not None:
            return _for_id(cached, id)
    data = await fetch(url, client=client, timeout=timeout, errors=_ERRORS)
    raw = parse_json(data, url, SafetyPolicyDiscoveryError)
    if isinstance(raw, dict) and "categories" in raw:
        return _for_id(await _accept(data, raw, hash, hash, cache), id)
    pointer = read_document(raw, SafetyPolicyPointer, url, SafetyPolicyDiscoveryError)
    check_pointer(pointer, id, SafetyPolicyDiscoveryError)
    policy = await load_safety_policy(
        url=pointer.url, hash=hash or pointer.hash, cache=cache, client=client, timeout=timeout
    )
    return _for_id(policy, id)


async def discover_version_policy(
    origin: str, *, client: httpx.AsyncClient | None = None, timeout: float = DEFAULT_TIMEOUT
) -> CodecVersionPolicyDocument | None:
    """Return what an origin asks of its clients; None where it asks nothing.

    Raises:
        VersionPolicyError: the document is malformed or too large, or the server failed.
        httpx.HTTPError: the connection failed or timed out.
    """
    url = well_known_version_policy_url(origin)
    try:
        data = await fetch(url, client=client, timeout=timeout, errors=Errors(VersionPolicyError))
    except MapDiscoveryNotFoundError:
        return None
    return parse_version_policy_document(parse_json(data, url, VersionPolicyError))


def _for_id(policy: SafetyPolicyDescriptor, wanted: str) -> SafetyPolicyDescriptor:
    if policy.id != wanted:
        raise SafetyPolicyDiscoveryError(f"the policy is {policy.id!r}, not {wanted!r}")
    return policy


async def _accept(
    data: bytes, raw: Any, wanted: str | None, key: str | None, cache: SafetyPolicyCache | None
) -> SafetyPolicyDescriptor:
    served = "sha256:" + hashlib.sha256(data).hexdigest()
    try:
        policy = descriptor_from_json(raw)
    except SafetyPolicyValidationError:
        if wanted is not None and served != wanted:
            raise SafetyPolicyHashMismatchError(wanted, served) from None
        raise
    canonical = hash_safety_policy(policy)
    if wanted is not None and wanted not in (served, canonical):
        raise SafetyPolicyHashMismatchError(wanted, canonical)
    if cache is not None:
        await cache.set(key or canonical, policy)
    return policy
