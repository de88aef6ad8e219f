"""The documents under `/.well-known/codec`: their URLs and their form. No I/O."""

from __future__ import annotations

import re
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec

from codec_core.exceptions import (
    CONVERSION_ERRORS,
    DECODE_ERRORS,
    CodecError,
    MapDiscoveryError,
    SafetyPolicyDiscoveryError,
)

WELL_KNOWN_BASE = "/.well-known/codec"
POLICY_WELL_KNOWN_BASE = WELL_KNOWN_BASE + "/policies"

_ID = re.compile(r"[a-z0-9._/-]+")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")

Document = TypeVar("Document")


class MapPointer(msgspec.Struct, frozen=True):
    """The URL of a map and the hash of its bytes."""

    id: str
    url: str
    hash: str
    published_at: str | None = None


class SafetyPolicyPointer(msgspec.Struct, frozen=True):
    """The URL of a safety policy and its hash."""

    id: str
    url: str
    hash: str
    published_at: str | None = None


class MapIndex(msgspec.Struct, frozen=True):
    """The maps that an origin publishes."""

    codec_version: str
    maps: tuple[MapPointer, ...]


def check_id(id: str, error: type[CodecError] = MapDiscoveryError) -> str:  # noqa: A002 - the protocol's word
    """Return the id if it can be part of a path.

    Raises:
        MapDiscoveryError: (or `error`) it holds other characters, `..`, or an empty segment.
    """
    if not _ID.fullmatch(id) or ".." in id or not all(id.split("/")):
        raise error(
            f"invalid id {id!r}: it must match [a-z0-9._/-]+, no '..', no empty segment, no slash at an end"
        )
    return id


def check_hash(value: str, error: type[CodecError] = MapDiscoveryError) -> str:
    """Return the hash if it is `sha256:` and 64 hex digits in lower case.

    Raises:
        MapDiscoveryError: (or `error`) it is not.
    """
    if not _HASH.fullmatch(value):
        raise error(f"invalid hash {value!r}: it must be sha256: and 64 hex digits in lower case")
    return value


def pinned_hash(value: str, error: type[CodecError] = MapDiscoveryError) -> str:
    """Return a hash that a caller pins, as `sha256:<hex>`; `sha256:` is optional, and so is lower case.

    Raises:
        MapDiscoveryError: (or `error`) it is not a sha256.
    """
    digits = value.lower()
    return check_hash(digits if digits.startswith("sha256:") else f"sha256:{digits}", error)


def check_url(url: str, error: type[CodecError] = MapDiscoveryError) -> str:
    """Return the URL if it is http or https and names a host.

    Raises:
        MapDiscoveryError: (or `error`) it is not.
    """
    try:
        parts = urlsplit(url)
        # Reading the port raises ValueError if it is not a number or out of range.
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    # `urlsplit` silently removes line breaks and tabs: what is checked would not be what is requested.
    if not sound or any(character <= " " or character == "\x7f" for character in url):
        raise error(f"invalid URL {url[:200]!r}: it must be http or https, with a host and a valid port")
    return url


def joined_url(base: str, url: str, error: type[CodecError] = MapDiscoveryError) -> str:
    """Return the URL that a document at `base` means by a URL, which may be relative. It is not checked.

    Raises:
        MapDiscoveryError: (or `error`) one of them cannot be read as a URL.
    """
    try:
        return urljoin(base, url)
    except ValueError as cause:  # brackets that enclose no address, characters that become others in a host
        raise error(f"invalid URL {url[:200]!r}: {cause}") from None


def well_known_map_url(origin: str, id: str) -> str:  # noqa: A002 - the existing client's name
    """Return the URL of an origin's map or pointer."""
    return f"{_base(origin)}{WELL_KNOWN_BASE}/maps/{check_id(id)}.json"


def well_known_index_url(origin: str) -> str:
    """Return the URL of an origin's list of maps."""
    return f"{_base(origin)}{WELL_KNOWN_BASE}/index.json"


def well_known_policy_url(origin: str, policy_id: str) -> str:
    """Return the URL of an origin's safety policy by its id."""
    name = check_id(policy_id, SafetyPolicyDiscoveryError)
    return f"{_base(origin, SafetyPolicyDiscoveryError)}{POLICY_WELL_KNOWN_BASE}/{name}.json"


def well_known_policy_hash_url(origin: str, hash_hex: str) -> str:
    """Return the URL of an origin's safety policy by its hash, 64 hex digits."""
    if not _HEX.fullmatch(hash_hex):
        raise SafetyPolicyDiscoveryError(
            f"invalid policy hash {hash_hex!r}: it must be 64 hex digits in lower case"
        )
    return f"{_base(origin, SafetyPolicyDiscoveryError)}{POLICY_WELL_KNOWN_BASE}/sha256/{hash_hex}.json"


def well_known_version_policy_url(origin: str) -> str:
    """Return the URL of an origin's version policy."""
    return f"{_base(origin)}{WELL_KNOWN_BASE}/version-policy.json"


def well_known_dict_url(origin: str, name: str) -> str:
    """Return the URL of an origin's zstd dictionary by its name, `sha256:<hex>`."""
    return f"{_base(origin)}{WELL_KNOWN_BASE}/dicts/{check_hash(name).removeprefix('sha256:')}.zstd"


def parse_json(data: bytes, what: str, error: type[CodecError]) -> Any:
    """Return the JSON value of a document.

    Raises:
        CodecError: of the class `error`: it is not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except DECODE_ERRORS as cause:
        raise error(f"{what} is not JSON: {cause}") from None


class MapDocument(msgspec.Struct, frozen=True):
    """A pointer or a map, whichever an origin serves; the large parts of a map are left undecoded."""

    id: str
    url: str | None = None
    hash: str | None = None
    published_at: str | None = None
    vocab: msgspec.Raw = msgspec.Raw()
    tokens: msgspec.Raw = msgspec.Raw()

    @property
    def is_map(self) -> bool:
        """True if the document is a map."""
        # `null` stands for a field that is left out.
        return any(bytes(memoryview(part)[:1]) == b"{" for part in (self.vocab, self.tokens))

    def pointer(self, where: str) -> MapPointer:
        """Return the document as a pointer.

        Raises:
            MapDiscoveryError: it is neither a map nor a pointer.
        """
        if self.url is None or self.hash is None:
            raise MapDiscoveryError(f"{where} is neither a map (vocab, tokens) nor a pointer (url, hash)")
        return MapPointer(self.id, self.url, self.hash, self.published_at)


def parse_map_document(data: bytes, where: str) -> MapDocument:
    """Return the pointer or map that an origin serves.

    Raises:
        MapDiscoveryError: it is not a JSON object with an id, or a field of a pointer has a wrong type.
    """
    try:
        return msgspec.json.decode(data, type=MapDocument)
    except DECODE_ERRORS as cause:
        raise MapDiscoveryError(f"{where} is neither a map nor a pointer: {cause}") from None


def read_document(raw: Any, kind: type[Document], what: str, error: type[CodecError]) -> Document:
    """Return a decoded JSON value as a document of this kind.

    Raises:
        CodecError: of the class `error`: it has another form.
    """
    try:
        return msgspec.convert(raw, kind)
    except CONVERSION_ERRORS as cause:
        raise error(f"{what} is malformed: {cause}") from None


def check_pointer(
    pointer: MapPointer | SafetyPolicyPointer, wanted: str | None, error: type[CodecError]
) -> None:
    """Check that a pointer is for the id asked for and has an http or https URL and a valid hash.

    Raises:
        CodecError: of the class `error`: it is not.
    """
    check_id(pointer.id, error)
    if wanted is not None and pointer.id != wanted:
        raise error(f"the pointer is for {pointer.id!r}, not for {wanted!r}")
    check_url(pointer.url, error)
    check_hash(pointer.hash, error)


def _base(origin: str, error: type[CodecError] = MapDiscoveryError) -> str:
    return check_url(origin, error).rstrip("/")
