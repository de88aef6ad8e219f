"""What a request's headers ask for: version, map, frame format, content encoding."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import msgspec

from codec_agents.server.http import HttpError, Request
from codec_core.frames import CONTENT_TYPES
from codec_core.vocabulary import Vocabulary

OLDEST_VERSION = "0.2"
"""What a client speaks that does not say."""


def require_version(request: Request, minimum: str | None, features: tuple[str, ...] = ()) -> None:
    """Refuse a client that is too old.

    Raises:
        HttpError: 426, in the protocol's form.
    """
    spoken = request.headers.get("codec-client-version", OLDEST_VERSION).strip()
    if minimum is None or _numbers(spoken) >= _numbers(minimum):
        return
    body = {
        "error": "codec_version_required",
        "minimum_version": minimum,
        "required_features": list(features),
        "client_version": spoken,
    }
    headers = {"Codec-Min-Version": minimum, "Codec-Required-Features": ", ".join(features)}
    raise HttpError(426, "a newer client is required", headers=headers, body=msgspec.json.encode(body))


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise HttpError(400, f"Codec-Client-Version {version[:40]!r} is not a version") from None


def require_map(request: Request, vocabulary: Vocabulary) -> None:
    """Refuse a client that holds another map than the model's.

    Raises:
        HttpError: 412, with the server's map in `Codec-Tokenizer-Map`.
    """
    held = request.headers.get("x-codec-map")
    if held is not None and vocabulary.hash is not None and held.strip() != vocabulary.hash:
        raise HttpError(
            412,
            f"the client holds the map {held.strip()[:80]}, the model speaks {vocabulary.hash}",
            code="map_mismatch",
            headers={"Codec-Tokenizer-Map": vocabulary.hash},
        )


def require_format(name: str) -> str:
    """Return a frame format that the server writes.

    Raises:
        HttpError: 400, there is no such format.
    """
    if name not in CONTENT_TYPES:
        known = ", ".join(sorted(CONTENT_TYPES))
        raise HttpError(
            400, f"stream_format {name[:40]!r} is unknown; known are {known}", param="stream_format"
        )
    return name


def accepted_encodings(header: str) -> dict[str, float]:
    """Return the encodings of an `Accept-Encoding` header and their weights."""
    accepted: dict[str, float] = {}
    for item in header.split(","):
        name, _, parameters = item.partition(";")
        if name.strip():
            accepted[name.strip().lower()] = _weight(parameters)
    return accepted


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def pick_encoding(header: str, dictionary: bytes | None) -> str | None:
    """Return the encoding that the server prefers among those that the client accepts; None for none.

    zstd is used only with a trained dictionary; br and zstd only where their packages are installed.
    """
    accepted = accepted_encodings(header)
    offered = {
        "zstd": dictionary is not None and _installed("zstandard"),
        "br": _installed("brotli"),
        "gzip": True,
    }
    return next((name for name, there in offered.items() if there and accepted.get(name, 0.0) > 0.0), None)


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None
