"""Load maps from a URL, or from an origin that publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codec_core.discovery.caches import MapCache, map_in_use, shared_map
from codec_core.discovery.documents import (
    MapIndex,
    check_pointer,
    parse_json,
    parse_map_document,
    pinned_hash,
    read_document,
    well_known_index_url,
    well_known_map_url,
)
from codec_core.discovery.fetch import DEFAULT_TIMEOUT, Progress, fetch
from codec_core.exceptions import MapDiscoveryError, TokenizerMapHashMismatchError
from codec_core.maps import MAX_MAP_BYTES, TokenizerMap, hash_map

if TYPE_CHECKING:
    import httpx


async def load_map(
    *,
    url: str,
    hash: str | None = None,  # noqa: A002 - the existing client's name
    cache: MapCache | None = None,
    client: httpx.AsyncClient | None = None,
    cache_key: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    max_bytes: int = MAX_MAP_BYTES,
    progress: Progress | None = None,
    allow_private: bool = False,
) -> TokenizerMap:
    """Return the map at a URL, or the cached one.

    Args:
        url: http or https.
        hash: the sha256 that the map's bytes must have, as `sha256:<hex>` or the digits alone.
        cache: read first, and given the loaded map. Without one, a map of this hash that the process holds
            is used, and nothing is kept.
        client: used, and not closed; without one a client is made for this call.
        cache_key: the key in the cache; the hash or else the URL where none is given.
        timeout: seconds that may pass without a byte.
        max_bytes: the largest body that is read.
        progress: called with the bytes received and their total, which may be unknown.
        allow_private: whether redirects to other hosts may lead to addresses that are not public.

    Raises:
        MapDiscoveryNotFoundError: nothing is found at the URL.
        MapDiscoveryError: the URL or the hash is malformed, the body is too large, the server failed, or a
            redirect leads to an address that is not public.
        TokenizerMapHashMismatchError: the bytes have another hash.
        TokenizerMapValidationError: they are not a map.
        httpx.HTTPError: the connection failed or timed out.
    """
    return await _load(
        url,
        hash=hash if hash is None else pinned_hash(hash),
        cache=cache,
        cache_key=cache_key,
        client=client,
        timeout=timeout,
        max_bytes=max_bytes,
        progress=progress,
        allow_private=allow_private,
    )


async def _load(
    url: str,
    *,
    hash: str | None,  # noqa: A002 - the existing client's name
    cache: MapCache | None,
    cache_key: str | None = None,
    **options: Any,
) -> TokenizerMap:
    key = cache_key or hash or url
    cached = await cache.get(key) if cache is not None else map_in_use(key)
    # Under a key of the caller there may be another map than the pinned one.
    if cached is not None and (hash is None or cached.hash == hash):
        return cached
    data = await fetch(url, **options)
    return await _accept(data, hash, key, cache)


async def discover_map(
    *,
    origin: str,
    id: str,  # noqa: A002 - the existing client's name
    cache: MapCache | None = None,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    max_bytes: int = MAX_MAP_BYTES,
    progress: Progress | None = None,
    allow_private: bool = False,
) -> TokenizerMap:
    """Return the map that an origin publishes under an id.

    The origin answers with the map, or with a pointer to it; a pointer leads to the map itself, never to a
    further pointer. With a pointer, the cache is asked by the hash. A pointer or redirect to another host
    whose address is not public is followed only with `allow_private`.

    Raises:
        MapDiscoveryNotFoundError: the origin does not have it, or the target of the pointer is not found.
        MapDiscoveryError: the id, the origin or the document is malformed, too large or for another id, or
            leads to something that is not http or https, or to an address that is not public.
        TokenizerMapHashMismatchError: the pointer leads to bytes of another hash.
        TokenizerMapValidationError: the bytes are not a map.
        httpx.HTTPError: the connection failed or timed out.
    """
    url = well_known_map_url(origin, id)
    options: dict[str, Any] = {
        "client": client,
        "timeout": timeout,
        "max_bytes": max_bytes,
        "progress": progress,
        "allow_private": allow_private,
    }
    data = await fetch(url, **options)
    document = parse_map_document(data, url)
    if document.is_map:
        return await _accept_direct(data, document.id, id, cache)
    pointer = document.pointer(url)
    check_pointer(pointer, id, MapDiscoveryError)
    return await _load(pointer.url, hash=pointer.hash, cache=cache, asked=url, **options)


async def discover_index(
    *,
    origin: str,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    allow_private: bool = False,
) -> MapIndex:
    """Return the list of maps that an origin publishes.

    Raises:
        MapDiscoveryNotFoundError: the origin has no index.
        MapDiscoveryError: the origin or the index is malformed or too large; one malformed pointer is enough.
        httpx.HTTPError: the connection failed or timed out.
    """
    url = well_known_index_url(origin)
    data = await fetch(url, client=client, timeout=timeout, allow_private=allow_private)
    index = read_document(parse_json(data, url, MapDiscoveryError), MapIndex, url, MapDiscoveryError)
    for pointer in index.maps:
        check_pointer(pointer, None, MapDiscoveryError)
    return index


async def _accept_direct(data: bytes, stated: str, wanted: str, cache: MapCache | None) -> TokenizerMap:
    """Accept a map served in place of a pointer. Only its id shows that it is the one asked for."""
    if stated != wanted:
        raise MapDiscoveryError(f"the map is {stated!r}, not {wanted!r}")
    return await _accept(data, None, hash_map(data), cache)


async def _accept(data: bytes, wanted: str | None, key: str, cache: MapCache | None) -> TokenizerMap:
    actual = hash_map(data)
    if wanted is not None and actual != wanted:
        raise TokenizerMapHashMismatchError(wanted, actual)
    tokenizer_map = shared_map(data, actual)
    if cache is not None:
        await cache.store(key, tokenizer_map, data)
    return tokenizer_map
