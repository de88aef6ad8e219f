"""Load safety policies and version policies."""

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
    """A cache of policies by hash or by a key of the caller. This base class keeps nothing."""

    async def get(self, key: str) -> SafetyPolicyDescriptor | None:  # noqa: ARG002 - for subclasses
        """Return the policy under this key, or None."""
        return None

    async def set(self, key: str, descriptor: SafetyPolicyDescriptor) -> None:
        """Keep a policy under this key."""


class MemorySafetyPolicyCache(SafetyPolicyCache):
    """A cache in this process. Nothing is evicted."""

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
    allow_private: bool = False,
) -> SafetyPolicyDescriptor:
    """Return the safety policy at a URL, or the cached one.

    With `hash`, the served bytes or the descriptor's canonical bytes must have it. Redirects to other hosts
    may lead to addresses that are not public only with `allow_private`.

    Raises:
        SafetyPolicyDiscoveryNotFoundError: nothing is found at the URL.
        SafetyPolicyDiscoveryError: the URL, the hash or the document is malformed or too large.
        SafetyPolicyHashMismatchError: the policy has another hash.
        SafetyPolicyValidationError: it is not a policy.
        httpx.HTTPError: the connection failed or timed out.
    """
    return await _load(
        url,
        hash=hash if hash is None else pinned_hash(hash, SafetyPolicyDiscoveryError),
        cache=cache,
        cache_key=cache_key,
        client=client,
        timeout=timeout,
        allow_private=allow_private,
    )


async def _load(
    url: str,
    *,
    hash: str | None,  # noqa: A002 - the existing client's name
    cache: SafetyPolicyCache | None,
    cache_key: str | None = None,
    **options: Any,
) -> SafetyPolicyDescriptor:
    key = cache_key or hash or url
    cached = await cache.get(key) if cache is not None else None
    # What lies under its own hash was checked when it was fetched, possibly by its served bytes, which the
    # descriptor no longer has. Under a key of the caller, only the canonical hash can be compared.
    if cached is not None and hash in (None, key, hash_safety_policy(cached)):
        return cached
    data = await fetch(url, errors=_ERRORS, **options)
    return await _accept(data, url, hash, key, cache)


async def discover_safety_policy(
    *,
    origin: str,
    id: str,  # noqa: A002 - the existing client's name
    hash: str | None = None,  # noqa: A002 - the existing client's name
    cache: SafetyPolicyCache | None = None,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    allow_private: bool = False,
) -> SafetyPolicyDescriptor:
    """Return the safety policy that an origin publishes under an id, or under a hash where one is given.

    The origin answers with the policy, or with a pointer to it; pointers do not chain. A pointer or redirect
    to another host whose address is not public is followed only with `allow_private`.

    Raises:
        SafetyPolicyDiscoveryNotFoundError: the origin does not have it.
        SafetyPolicyDiscoveryError: the document is malformed, too large or for another id, or leads to a URL
            that is not allowed.
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
    options: dict[str, Any] = {"client": client, "timeout": timeout, "allow_private": allow_private}
    data = await fetch(url, errors=_ERRORS, **options)
    # The answer is the policy or a pointer. Only a pointer may have another hash.
    raw = _parse(data, url, hash)
    if isinstance(raw, dict) and "categories" in raw:
        return _for_id(await _accept(data, url, hash, hash, cache), id)
    pointer = read_document(raw, SafetyPolicyPointer, url, SafetyPolicyDiscoveryError)
    check_pointer(pointer, id, SafetyPolicyDiscoveryError)
    # A hash that the caller pins counts, whatever the origin says.
    policy = await _load(pointer.url, hash=hash or pointer.hash, cache=cache, asked=url, **options)
    return _for_id(policy, id)


async def discover_version_policy(
    origin: str,
    *,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    allow_private: bool = False,
) -> CodecVersionPolicyDocument | None:
    """Return what an origin requires of its clients, or None.

    Redirects to other hosts may lead to addresses that are not public only with `allow_private`.

    Raises:
        VersionPolicyError: the document is malformed or too large, or the server failed.
        httpx.HTTPError: the connection failed or timed out.
    """
    url = well_known_version_policy_url(origin)
    errors = Errors(VersionPolicyError)
    try:
        data = await fetch(url, client=client, timeout=timeout, errors=errors, allow_private=allow_private)
    except MapDiscoveryNotFoundError:
        return None  # the protocol: without a policy nothing is required
    return parse_version_policy_document(parse_json(data, url, VersionPolicyError))


def _for_id(policy: SafetyPolicyDescriptor, wanted: str) -> SafetyPolicyDescriptor:
    if policy.id != wanted:
        raise SafetyPolicyDiscoveryError(f"the policy is {policy.id!r}, not {wanted!r}")
    return policy


async def _accept(
    data: bytes, url: str, wanted: str | None, key: str | None, cache: SafetyPolicyCache | None
) -> SafetyPolicyDescriptor:
    """Check the hash of a policy and keep it.

    The hash names the served bytes or the canonical ones. The latter are known only once the bytes are
    parsed, so where these are no policy and do not have the hash, the hash is what is wrong.
    """
    served = _hash_of(data)
    raw = _parse(data, url, wanted)
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


def _parse(data: bytes, url: str, wanted: str | None) -> Any:
    """Return the JSON value of a document. Of bytes that are not JSON, the hash is judged first."""
    try:
        return parse_json(data, url, SafetyPolicyDiscoveryError)
    except SafetyPolicyDiscoveryError:
        if wanted is not None and _hash_of(data) != wanted:
            raise SafetyPolicyHashMismatchError(wanted, _hash_of(data)) from None
        raise


def _hash_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
