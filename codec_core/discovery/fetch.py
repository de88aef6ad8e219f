"""One bounded download: the only place of this package that opens a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec_core.compression import decompressor
from codec_core.discovery.documents import check_url
from codec_core.exceptions import CodecError, CompressionError, MapDiscoveryError, MapDiscoveryNotFoundError
from codec_core.versions import with_codec_client_version

if TYPE_CHECKING:
    import httpx

MAX_DOCUMENT_BYTES = 1024 * 1024
"""Pointers, policies and indexes are far smaller."""

DEFAULT_TIMEOUT = 30.0
"""Seconds that may pass without a byte; there is no limit on the whole, wrap the call in one to have it."""

MAX_REDIRECTS = 3
"""Of a client that is made here; one that the caller gives follows its own rule."""

_STEP = 4096
"""Bytes decompressed at a time: they may become a thousand times as many, beside those that are there."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes received, and their total where the server said it."""

NotFound = Callable[[str, int], CodecError]


@dataclass(frozen=True)
class Errors:
    """Which errors a family of documents raises."""

    malformed: type[CodecError] = MapDiscoveryError
    not_found: NotFound = MapDiscoveryNotFoundError


async def fetch(
    url: str,
    *,
    client: httpx.AsyncClient | None,
    timeout: float,
    max_bytes: int = MAX_DOCUMENT_BYTES,
    errors: Errors = Errors(),
    progress: Progress | None = None,
) -> bytes:
    """Return the body of a URL, decompressed.

    Raises:
        CodecError: `errors.not_found` for 404 and 410; `errors.malformed` for any other status but 200, for a
            body past `max_bytes`, before or after decompression, and for a URL that is not http or https.
        httpx.HTTPError: the connection failed or timed out.
    """
    check_url(url, errors.malformed)
    headers = with_codec_client_version({"Accept-Encoding": "gzip"})
    async with (
        _client(client) as session,
        session.stream("GET", url, headers=headers, timeout=timeout) as response,
    ):
        if response.status_code in (404, 410):
            raise errors.not_found(url, response.status_code)
        if response.status_code != 200:
            raise errors.malformed(f"{url} answered HTTP {response.status_code}")
        return await _read(response, url, max_bytes, errors.malformed, progress)


async def _read(
    response: httpx.Response, url: str, max_bytes: int, error: type[CodecError], progress: Progress | None
) -> bytes:
    """Read a body as it comes, so that one without end costs no more than the limit."""
    length = response.headers.get("content-length", "")
    total = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
    if total is not None and total > max_bytes:
        raise error(f"{url} has {total} bytes; the limit is {max_bytes}")
    pieces: list[bytes] = []  # put together at the end: what grows is copied, and would be there twice
    received = 0
    try:
        reader = decompressor(_encoding(response), budget=max_bytes)
        async for chunk in _chunks(response):
            received += len(chunk)
            if received > max_bytes:
                raise error(f"{url} has more bytes than the limit of {max_bytes}")
            pieces.extend(reader.feed(chunk[at : at + _STEP]) for at in range(0, len(chunk), _STEP))
            if progress is not None:
                progress(received, total)
        pieces.append(reader.flush())
    except CompressionError as cause:
        raise error(f"{url} cannot be decompressed: {cause}") from None
    return b"".join(pieces)


def _encoding(response: httpx.Response) -> str | None:
    """Return how the chunks are encoded; a response that was made in memory is decoded already."""
    return None if response.is_stream_consumed else response.headers.get("content-encoding")


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    if response.is_stream_consumed:
        yield response.content
        return
    async for chunk in response.aiter_raw():
        yield chunk


@asynccontextmanager
async def _client(given: httpx.AsyncClient | None) -> AsyncIterator[httpx.AsyncClient]:
    if given is not None:
        yield given
        return
    import httpx

    async with httpx.AsyncClient(follow_redirects=True, max_redirects=MAX_REDIRECTS) as own:
        yield own
