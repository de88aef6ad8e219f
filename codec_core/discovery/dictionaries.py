"""Load zstd dictionaries by hash: from a map's list or from an origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codec_core.compression.dictionaries import hash_zstd_dict
from codec_core.discovery.documents import check_hash, joined_url, well_known_dict_url
from codec_core.discovery.fetch import DEFAULT_TIMEOUT, fetch
from codec_core.exceptions import CodecZstdDictError
from codec_core.maps import TokenizerMap

if TYPE_CHECKING:
    import httpx

MAX_DICT_BYTES = 1024 * 1024
"""The largest dictionary. By default, zstd's trainer makes 110 KB."""


async def load_zstd_dict(
    *,
    url: str,
    hash: str,  # noqa: A002 - as in load_map
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    allow_private: bool = False,
) -> bytes:
    """Return the dictionary at a URL, which must have this hash.

    Raises:
        MapDiscoveryNotFoundError: nothing is found at the URL.
        MapDiscoveryError: the URL or the hash is malformed, or the body is too large.
        CodecZstdDictError: the bytes have another hash.
        httpx.HTTPError: the connection failed or timed out.
    """
    return await _load(url, hash, client=client, timeout=timeout, allow_private=allow_private)


async def _load(url: str, hash: str, **options: Any) -> bytes:  # noqa: A002 - as in load_map
    check_hash(hash)
    data = await fetch(url, max_bytes=MAX_DICT_BYTES, **options)
    actual = hash_zstd_dict(data)
    if actual != hash:
        raise CodecZstdDictError(f"the dictionary at {url} has hash {actual}, not {hash}")
    return data


async def discover_zstd_dict(
    *,
    origin: str,
    hash: str,  # noqa: A002 - as in load_map
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    allow_private: bool = False,
) -> bytes:
    """Return the dictionary that an origin publishes under this hash; errors as `load_zstd_dict`."""
    return await load_zstd_dict(
        url=well_known_dict_url(origin, hash),
        hash=hash,
        client=client,
        timeout=timeout,
        allow_private=allow_private,
    )


async def load_map_dicts(
    tokenizer_map: TokenizerMap,
    *,
    formats: tuple[str, ...] | None = None,
    base_url: str | None = None,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    allow_private: bool = False,
) -> dict[str, bytes]:
    """Return the dictionaries that a map lists, by hash, for these stream formats or for all.

    `base_url` is where relative URLs in the map start from. A URL of another host whose address is not public
    is refused unless `allow_private`. Errors as `load_zstd_dict`.
    """
    loaded: dict[str, bytes] = {}
    for entry in tokenizer_map.zstd_dictionaries or ():
        if entry.hash not in loaded and (formats is None or entry.format in formats):
            url = joined_url(base_url, entry.url) if base_url else entry.url
            # The author of the map chose the URL, so it is judged as a redirect from `base_url` is; without a
            # `base_url`, the caller named no host that would be allowed whatever its address.
            loaded[entry.hash] = await _load(
                url,
                entry.hash,
                client=client,
                timeout=timeout,
                asked=base_url or "",
                allow_private=allow_private,
            )
    return loaded
