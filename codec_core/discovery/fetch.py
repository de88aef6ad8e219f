"""One bounded download: the only code of this package that opens a connection.

The rules:

* A body is read no further than a limit, before and after decompression.
* The head of a response, informational responses included, has a time limit as a whole.
* Each URL on the way, redirects included, is checked before a connection to it is opened.
* Whatever a server, a URL or the environment does, the error is a `CodecError` or an `httpx.HTTPError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from codec_core.compression import decompressor
from codec_core.discovery.addresses import Destinations, addresses_of
from codec_core.discovery.documents import check_url
from codec_core.exceptions import CodecError, CompressionError, MapDiscoveryError, MapDiscoveryNotFoundError
from codec_core.versions import with_codec_client_version

if TYPE_CHECKING:
    import httpx

MAX_DOCUMENT_BYTES = 1024 * 1024
"""The largest document but a map. Pointers, policies and indexes are far smaller."""

DEFAULT_TIMEOUT = 30.0
"""Seconds that may pass without a byte. The whole has no limit: wrap the call in one if it needs one."""

MAX_REDIRECTS = 3
"""The most redirects of a client that is made here. A client of the caller has a limit of its own."""

_STEP = 4096
"""Bytes decompressed at a time, since they may become a thousand times as many."""

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes received, and their total or None."""

NotFound = Callable[[str, int], CodecError]


@dataclass(frozen=True)
class Errors:
    """The errors of a family of documents."""

    malformed: type[CodecError] = MapDiscoveryError
    not_found: NotFound = MapDiscoveryNotFoundError
    refused: NotFound | None = None
    """For 401 and 403; None for `malformed`, as for any other status."""


async def fetch(
    url: str,
    *,
    client: httpx.AsyncClient | None,
    timeout: float,
    max_bytes: int = MAX_DOCUMENT_BYTES,
    errors: Errors = Errors(),
    progress: Progress | None = None,
    asked: str | None = None,
    allow_private: bool = False,
    headers: Mapping[str, str] = MappingProxyType({}),
    heard: Callable[[Mapping[str, str]], None] | None = None,
) -> bytes:
    """Return the body of a URL, decompressed.

    Args:
        url: http or https.
        client: used, and not closed; without one a client is made for this call.
        timeout: seconds that may pass without a byte; the head of a response takes at most twice as long.
        max_bytes: the largest body that is read, before and after decompression.
        errors: the errors to raise.
        progress: called with the bytes received and their total, which may be unknown.
        asked: the URL that the caller gave, where a document led from there to this one.
        allow_private: whether redirects, and this URL where `asked` is given, may lead to addresses that are
            not public. The host of the URL that the caller gave is always allowed.
        headers: sent as well; `Authorization` only to the origin of the URL.
        heard: called with the headers of each response on the way.

    Raises:
        CodecError: `errors.not_found` for 404 and 410; `errors.malformed` for any other status but 200, for a
            body that is too large, for a URL that is malformed or leads to an address that is not allowed,
            and for proxy settings that cannot be used. httpx.HTTPError: the connection failed or timed out.
    """
    error = errors.malformed
    check_url(url, error)
    look_up = addresses_of if client is None else None  # the caller's client may connect through a proxy
    allowed = Destinations(url if asked is None else asked, allow_private=allow_private, look_up=look_up)
    async with (
        _client(client, error) as session,
        _response(session, url, timeout, allowed, error, headers, heard) as response,
    ):
        if errors.refused is not None and response.status_code in (401, 403):
            raise errors.refused(url, response.status_code)
        if response.status_code in (404, 410):
            raise errors.not_found(url, response.status_code)
        if response.status_code != 200:
            raise error(f"{url} answered HTTP {response.status_code}")
        return await _read(response, url, max_bytes, error, progress)


@asynccontextmanager
async def _response(
    session: httpx.AsyncClient,
    url: str,
    timeout: float,
    allowed: Destinations,
    error: type[CodecError],
    headers: Mapping[str, str],
    heard: Callable[[Mapping[str, str]], None] | None,
) -> AsyncIterator[httpx.Response]:
    """Open a URL and follow its redirects, where the client follows any; each hop is checked."""
    import httpx

    # The one encoding that is read without an optional package.
    sent = with_codec_client_version({"Accept-Encoding": "gzip", **headers})
    with _typed(url, error):
        request = session.build_request("GET", url, headers=sent, timeout=timeout)
    auth: Any = httpx.USE_CLIENT_DEFAULT
    for _ in range(session.max_redirects + 1):
        # A client that follows redirects by itself does not let the caller check where they lead.
        with _typed(str(request.url), error):
            await allowed.check(str(request.url), request.url.raw_host.decode("ascii"), error)
            response = await _send(session, request, auth, timeout)
        if heard is not None:
            heard(response.headers)
        try:
            if response.next_request is None or not session.follow_redirects:
                yield response
                return
            # httpx leaves out what another host must not see. Credentials of the client would be added again.
            request, auth = response.next_request, None
            with _typed(str(request.url), error):
                check_url(str(request.url), error)
        finally:
            await response.aclose()
    raise httpx.TooManyRedirects("too many redirects", request=request)


async def _send(
    session: httpx.AsyncClient, request: httpx.Request, auth: Any, timeout: float
) -> httpx.Response:
    """Return a response once its head has arrived.

    The client's own limit is on the time between two reads. A server that sends informational responses (1xx)
    without end keeps within it, so the head as a whole has a limit too.
    """
    import anyio
    import httpx

    try:
        # Twice the limit, because connecting and waiting for the first byte may each take that long.
        with anyio.fail_after(2 * timeout):
            return await session.send(request, stream=True, auth=auth, follow_redirects=False)
    except TimeoutError:
        raise httpx.ReadTimeout(f"no response within {2 * timeout:g} s", request=request) from None


@contextmanager
def _typed(url: str, error: type[CodecError]) -> Iterator[None]:
    """Turn the errors that the HTTP library raises for a URL into the error of a malformed URL."""
    import httpx

    try:
        yield
    except (CodecError, httpx.HTTPError):
        raise
    except (httpx.InvalidURL, ValueError) as cause:  # names that IDNA refuses are ValueErrors
        raise error(f"invalid URL {url[:200]!r}, or a redirect to one: {cause}") from None


async def _read(
    response: httpx.Response, url: str, max_bytes: int, error: type[CodecError], progress: Progress | None
) -> bytes:
    """Read a body as it arrives, so that a body without end costs no more than the limit."""
    length = response.headers.get("content-length", "")
    # A number of 20 digits is no length, and one of thousands is refused by `int`.
    total = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
    if total is not None and total > max_bytes:
        raise error(f"{url} has {total} bytes; the limit is {max_bytes}")
    pieces: list[bytes] = []  # joined at the end: growing one object would copy it, and hold it twice
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
    """Return the encoding of the chunks; a response made in memory is decoded already."""
    return None if response.is_stream_consumed else response.headers.get("content-encoding")


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    if response.is_stream_consumed:
        yield response.content
        return
    async for chunk in response.aiter_raw():
        yield chunk


@asynccontextmanager
async def _client(
    given: httpx.AsyncClient | None, error: type[CodecError]
) -> AsyncIterator[httpx.AsyncClient]:
    if given is not None:
        yield given
        return
    import httpx

    try:
        own = httpx.AsyncClient(follow_redirects=True, max_redirects=MAX_REDIRECTS)
    except (httpx.InvalidURL, ValueError, ImportError) as cause:
        # httpx reads these when a client is made, and raises what their parsing raises.
        raise error(
            "the proxy settings of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) cannot be "
            f"used: {cause}; correct them, or unset them"
        ) from cause
    async with own:
        yield own
