"""Version negotiation: the client's version header, the headers a server may send it, and status 426."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from codec_core.exceptions import (
    CodecVersionBodyError,
    CodecVersionRequiredBody,
    CodecVersionRequiredError,
    VersionPolicyError,
)

CODEC_CLIENT_VERSION = "0.5"
"""The version of the protocol that this library speaks."""

VARY = "Accept-Encoding, Codec-Client-Version"
"""The request headers on which an answer depends: a shared cache may otherwise serve another client's."""

ASSUMED_VERSION = "0.2"
"""The version of a client that states none."""

CODEC_CLIENT_VERSION_HEADER = "Codec-Client-Version"
CODEC_MIN_VERSION_HEADER = "Codec-Min-Version"
CODEC_REQUIRED_FEATURES_HEADER = "Codec-Required-Features"
CODEC_MAP_HEADER = "X-Codec-Map"
CODEC_TOKENIZER_MAP_HEADER = "Codec-Tokenizer-Map"

HEADERS_SINCE: dict[str, str] = {
    "codec-tokenizer-map": "0.2",
    "codec-zstd-dict": "0.2",
    "codec-safety-policy": "0.4",
    "codec-safety-policy-hash": "0.4",
}
"""The version that introduced each response header; an older client is never sent it."""

_EXCERPT = 200


class CodecVersionPolicyDocument(msgspec.Struct, frozen=True):
    """The version and features that a deployment requires, published for clients to read beforehand."""

    minimum_version: str
    required_features: tuple[str, ...]
    deployment_id: str | None = None
    docs_url: str | None = None
    valid_until: str | None = None


class ResponseLike(Protocol):
    """The attributes of an HTTP response that are read here; those of httpx and requests have them."""

    @property
    def status_code(self) -> int:
        """The status."""
        ...

    @property
    def text(self) -> str:
        """The whole body, already read."""
        ...

    @property
    def headers(self) -> Any:
        """The headers, a mapping."""
        ...


def parse_version(text: str) -> tuple[int, int]:
    """Return a version such as `0.4` as two numbers.

    Raises:
        ValueError: it is not two numbers with a dot between them.
    """
    major, dot, minor = text.strip().partition(".")
    # `int` alone would also read signs, digits of other scripts and texts of any length.
    if not dot or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in (major, minor)):
        raise ValueError(f"{text!r} is not a Codec version such as {CODEC_CLIENT_VERSION!r}")
    return int(major), int(minor)


def client_version_of(headers: Mapping[str, str]) -> str:
    """Return the version that a request's headers name; `ASSUMED_VERSION` where they name none."""
    stated = {name.lower(): value for name, value in headers.items()}.get(CODEC_CLIENT_VERSION_HEADER.lower())
    try:
        return stated if stated and parse_version(stated) else ASSUMED_VERSION
    except ValueError:
        return ASSUMED_VERSION


def headers_for_client(headers: Mapping[str, str], client_version: str) -> dict[str, str]:
    """Return the response headers that a client of this version may be sent."""
    spoken = parse_version(client_version)
    return {
        name: value
        for name, value in headers.items()
        if parse_version(HEADERS_SINCE.get(name.lower(), "0.0")) <= spoken
    }


def with_codec_client_version(
    headers: Mapping[str, str] | None = None, override_version: str | None = None
) -> dict[str, str]:
    """Return the headers with `Codec-Client-Version`; one that is present, in any case, is kept."""
    result = dict(headers or {})
    if not any(name.lower() == CODEC_CLIENT_VERSION_HEADER.lower() for name in result):
        result[CODEC_CLIENT_VERSION_HEADER] = override_version or CODEC_CLIENT_VERSION
    return result


def parse_version_required(resp: ResponseLike) -> CodecVersionRequiredError | None:
    """Return the error to raise for a 426 response; None for any other status.

    Raises:
        CodecVersionBodyError: it is 426, but the body is not the protocol's.
    """
    if resp.status_code != 426:
        return None
    text = resp.text
    try:
        # `replace`: a lone surrogate in the text must not hide the 426 behind an error of encoding.
        body = msgspec.json.decode(text.encode("utf-8", "replace"), type=CodecVersionRequiredBody)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unrecognized(resp, str(error)) from None
    if body.error != "codec_version_required":
        raise _unrecognized(resp, f"error is {body.error!r}")
    return CodecVersionRequiredError(body)


def _unrecognized(resp: ResponseLike, reason: str) -> CodecVersionBodyError:
    given = getattr(resp, "headers", None) or {}
    headers = {str(name).lower(): str(value) for name, value in given.items()}
    features = headers.get(CODEC_REQUIRED_FEATURES_HEADER.lower(), "").split(",")
    return CodecVersionBodyError(
        reason,
        resp.text[:_EXCERPT],
        headers.get(CODEC_MIN_VERSION_HEADER.lower()),
        tuple(feature.strip() for feature in features if feature.strip()),
    )


def version_required(
    client_version: str,
    minimum_version: str,
    required_features: tuple[str, ...] = (),
    *,
    docs_url: str | None = None,
    deployment_id: str | None = None,
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the JSON body of a 426 response."""
    body: dict[str, Any] = {
        "error": "codec_version_required",
        "minimum_version": minimum_version,
        "required_features": list(required_features),
        "client_version": client_version,
        "docs_url": docs_url,
        "deployment_id": deployment_id,
    }
    headers = {CODEC_MIN_VERSION_HEADER: minimum_version, "Content-Type": "application/json"}
    if required_features:
        headers[CODEC_REQUIRED_FEATURES_HEADER] = ", ".join(required_features)
    return headers, msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def parse_version_policy_document(raw: Any) -> CodecVersionPolicyDocument:
    """Return a version policy from decoded JSON; unknown fields are ignored.

    Raises:
        VersionPolicyError: it does not have the protocol's form; the message names the field.
    """
    try:
        document = msgspec.convert(raw, CodecVersionPolicyDocument)
        parse_version(document.minimum_version)
    except (msgspec.ValidationError, ValueError) as error:
        raise VersionPolicyError(f"not a version policy: {error}") from None
    return document
