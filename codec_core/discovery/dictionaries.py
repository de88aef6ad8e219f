"""Loading zstd dictionaries by hash: from the map's own list, or from an origin."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

from codec_core.compression.dictionaries import hash_zstd_dict
from codec_core.discovery.documents import check_hash, well_known_dict_url
from codec_core.discovery.fetch import DEFAULT_TIMEOUT, fetch
from codec_core.exceptions import CodecZstdDictError
from codec_core.maps import TokenizerMap

if TYPE_CHECKING:
    import httpx

MAX_DICT_BYTES = 1024 * 1024
"""zstd's own trainer makes 110 KB unless told otherwise."""


async def load_zstd_dict(
    *,
    url: str,
    hash: str,  # noqa: A002 - as in load_map
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> bytes:
    """Return the dictionary at a URL, which must have this hash.

    Raises:
        MapDiscoveryNotFoundError: there is nothing at the URL.
        MapDiscoveryError: the URL or the hash is malformed, or the body is too large.
        CodecZstdDictError: the bytes have another hash.
        httpx.HTTPError: the connection failed or timed out.
    """
    check_hash(hash)
    data = await fetch(url, client=client, timeout=timeout, max_bytes=MAX_DICT_BYTES)
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
) -> bytes:
    """Return the dictionary that an origin publishes under this hash; errors as `load_zstd_dict`."""
    return await load_zstd_dict(
        url=well_known_dict_url(origin, hash), hash=hash, client=client, timeout=timeout
    )


async def load_map_dicts(
    tokenizer_map: TokenizerMap,
    *,
    formats: tuple[str, ...] | None = None,
    base_url: str | None = None,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> dict[str, bytes]:
    """Return the dictionaries that a map lists, by hash, for these stream formats or for all.

    `base_url` is where relative URLs in the map start from; errors as `load_zstd_dict`.
    """
    loaded: dict[str, bytes] = {}
    for entry in tokenizer_map.zstd_dictionaries or ():
        if entry.hash not in loaded and (formats is None or entry.format in formats):
            url = urljoin(base_url, entry.url) if base_url else entry.url
            loaded[entry.hash] = await load_zstd_dict(
                url=url, hash=entry.hash, client=client, timeout=timeout
            )
    return loaded
