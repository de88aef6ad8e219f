"""Negotiate version, map and frame format by the headers of a request."""

from __future__ import annotations

from codec_agents.server.http import HttpError, Request
from codec_core.frames import CONTENT_TYPES
from codec_core.versions import client_version_of, parse_version, version_required
from codec_core.vocabulary import Vocabulary


def require_version(request: Request, minimum: str | None, features: tuple[str, ...] = ()) -> None:
    """Refuse a client that is too old.

    Raises:
        HttpError: 426, in the protocol's form.
    """
    spoken = client_version_of(request.headers)
    if minimum is None or parse_version(spoken) >= parse_version(minimum):
        return
    headers, body = version_required(spoken, minimum, features)
    raise HttpError(426, "a newer client is required", headers=headers, body=body)


def require_map(request: Request, vocabulary: Vocabulary) -> None:
    """Refuse a client that holds another map than the model's.

    Raises:
        HttpError: 412, with the server's map in `Codec-Tokenizer-Map`.
    """
    held = request.headers.get("x-codec-map")
    # A client that names no map takes the model's; a vocabulary without a document has none to compare.
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
