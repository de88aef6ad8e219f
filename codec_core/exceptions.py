"""Every error that `codec_core` raises.

    CodecError
    ├── FrameError (ValueError)             a frame stream broke the protocol; has `offset`
    │   ├── MalformedFrameError             not a frame, a wrong type, a missing field, an id out of range
    │   ├── FrameTooLargeError              a declared or gathered size past the limit
    │   ├── NestingError                    values nested deeper than any frame needs
    │   ├── TrailingDataError               bytes after the frame with `done`
    │   └── TruncatedStreamError            the body ended inside a frame, or before one with `done`
    ├── FrameEncodeError (ValueError)       a frame or request that the wire format cannot hold
    ├── UnsupportedFormatError (ValueError) an unknown frame format or content type
    ├── CompressionError
    │   ├── UnsupportedEncodingError        a Content-Encoding that cannot be read or written
    │   ├── CorruptBodyError                compressed bytes that do not decompress
    │   ├── TruncatedBodyError              a compressed body that ended early
    │   ├── DecompressionBudgetError        a body that decompresses past its budget
    │   ├── MissingExtraError (ImportError) the package that reads this encoding is not installed
    │   └── CodecZstdDictError              a dictionary missing, unnamed, wrong, or named without zstd
    ├── CodecVersionRequiredError           426: the server wants a newer client or more features
    ├── CodecVersionBodyError (ValueError)  426 with another body than the protocol's
    ├── VersionPolicyError (ValueError)     a malformed version policy document
    ├── ToolWatcherError (ValueError)       a region marker that the map lacks
    ├── RegionKindError (ValueError)        region kinds that are ambiguous or malformed
    ├── LeafTokenizationError (ValueError)  a malformed `_meta` tokenization
    │   └── LeafMapMismatchError            a tokenization made with another map
    ├── TokenizerMapValidationError (ValueError)
    ├── TokenizerMapHashMismatchError (ValueError)
    ├── UnencodableTextError (ValueError)   text that no ids of the vocabulary spell: lone surrogates
    ├── MapBuildError (ValueError)          a tokenizer file from which no exact map can be made
    ├── MapDiscoveryError (ValueError)      a document or URL is malformed, too large or not allowed
    │   └── MapDiscoveryNotFoundError       not found on the server
    ├── SafetyPolicyValidationError (ValueError)
    ├── SafetyPolicyHashMismatchError (ValueError)
    └── SafetyPolicyDiscoveryError (ValueError)
        └── SafetyPolicyDiscoveryNotFoundError

Names and bases that the existing client has are kept, so `except` clauses written for it go on working.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

ErrorT = TypeVar("ErrorT", bound=Exception)

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Raised by msgspec's decoders for what is no document, or not of the type asked for. Nesting has an error of
its own, also in fields that the type does not name; and so has text that is no UTF-8, in msgspec 0.19."""

CONVERSION_ERRORS = (msgspec.ValidationError, UnicodeEncodeError)
"""Raised by `msgspec.convert` for a value of another form; the latter for a lone surrogate where no text
belongs, as `json.loads` reads one."""


def made_again(kind: type[ErrorT], args: Sequence[Any]) -> ErrorT:
    """Make an error that was pickled; its attributes are set after."""
    return kind.__new__(kind, *args)


class CodecError(Exception):
    """The root of all errors of `codec_core`."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the constructor with the message alone, which fails where it takes more: a pool of
        # processes, which reads its workers' errors so, is broken by that.
        return made_again, (type(self), self.args), self.__dict__


# Frames


class FrameError(CodecError, ValueError):
    """A stream of frames broke the protocol.

    Attributes:
        reason: what was wrong, without the place.
        offset: the byte in the stream, after decompression, at which it shows.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} (at byte {offset} of the stream)")
        self.reason = reason
        self.offset = offset


class MalformedFrameError(FrameError):
    """The bytes are not a frame: unknown bytes, a wrong type, a missing field, an id outside 0..2^32-1."""


class FrameTooLargeError(FrameError):
    """A frame is, or declares itself, larger than the limit. It was not buffered.

    Attributes:
        limit: the limit, in `unit`.
        unit: `bytes` or `ids`.
    """

    def __init__(self, reason: str, offset: int, limit: int, unit: str = "bytes") -> None:
        super().__init__(f"{reason}; the limit is {limit} {unit} a frame", offset)
        self.limit = limit
        self.unit = unit


class NestingError(FrameError):
    """A value is nested deeper than any frame needs."""


class TrailingDataError(FrameError):
    """Bytes follow the frame with `done`."""


class TruncatedStreamError(FrameError):
    """The body ended inside a frame, or before a frame with `done`."""


class FrameEncodeError(CodecError, ValueError):
    """A frame or request cannot be written: an id out of range, a wrong type, a frame after `done`."""


class UnsupportedFormatError(CodecError, ValueError):
    """A stream format or content type that is not one of Codec's."""


# Compression


class CompressionError(CodecError):
    """A content encoding could not be read or written."""


class UnsupportedEncodingError(CompressionError):
    """The `Content-Encoding` is unknown to this library."""


class CorruptBodyError(CompressionError):
    """The compressed bytes do not decompress."""


class TruncatedBodyError(CompressionError):
    """The compressed body ended before its own end mark."""


class DecompressionBudgetError(CompressionError):
    """The body decompresses to more than its budget; it is rejected, not cut.

    Attributes:
        budget: the budget in bytes.
    """

    def __init__(self, budget: int) -> None:
        super().__init__(
            f"the body decompresses past its budget of {budget} bytes; raise the budget if it is trusted"
        )
        self.budget = budget


class MissingExtraError(CompressionError, ImportError):
    """The package that an encoding needs is not installed."""

    def __init__(self, encoding: str, package: str) -> None:
        super().__init__(
            f"{encoding} needs {package}; install it with: pip install 'codec-agents[compression]'"
        )
        self.encoding = encoding


class CodecZstdDictError(CompressionError):
    """A zstd dictionary is missing, unnamed, of another hash, or named for a body that is not zstd."""


# Versions


class CodecVersionRequiredBody(msgspec.Struct, frozen=True):
    """The body of `426 Upgrade Required`."""

    error: str
    minimum_version: str
    required_features: tuple[str, ...]
    client_version: str
    docs_url: str | None = None
    deployment_id: str | None = None


class CodecVersionRequiredError(CodecError):
    """The server answered 426: this client is too old, or lacks a feature. Do not retry.

    Attributes:
        body: what the server said; its fields are attributes of the error too.
    """

    def __init__(self, body: CodecVersionRequiredBody) -> None:
        wanted = f", with {', '.join(body.required_features)}" if body.required_features else ""
        more = f"; see {body.docs_url}" if body.docs_url else ""
        super().__init__(
            f"the server requires Codec {body.minimum_version}{wanted}; "
            f"this client speaks {body.client_version}{more}"
        )
        self.body = body
        self.minimum_version = body.minimum_version
        self.required_features = body.required_features
        self.client_version = body.client_version
        self.docs_url = body.docs_url
        self.deployment_id = body.deployment_id


class CodecVersionBodyError(CodecError, ValueError):
    """The server answered 426, but its body does not have the protocol's form. Do not retry.

    Attributes:
        excerpt: the beginning of the body.
        minimum_version: from the `Codec-Min-Version` header, if it was there.
        required_features: from the `Codec-Required-Features` header.
    """

    def __init__(
        self, reason: str, excerpt: str, minimum_version: str | None, required_features: tuple[str, ...]
    ) -> None:
        super().__init__(f"426 Upgrade Required with a body that is not Codec's ({reason}): {excerpt!r}")
        self.excerpt = excerpt
        self.minimum_version = minimum_version
        self.required_features = required_features


class VersionPolicyError(CodecError, ValueError):
    """A version policy document does not have the protocol's form."""


# Regions and leaves


class ToolWatcherError(CodecError, ValueError):
    """A marker's name is not one of the map's control tokens."""


class RegionKindError(CodecError, ValueError):
    """Region kinds are malformed or ambiguous."""


class LeafTokenizationError(CodecError, ValueError):
    """A tool result's `ai.codec/leaf-tokenization` does not have the protocol's form."""


class LeafMapMismatchError(LeafTokenizationError):
    """A tool result was tokenized with another map.

    Attributes:
        expected: the hash of the reader's map.
        actual: the hash that the tool result names.
    """

    def __init__(self, expected: str | None, actual: str) -> None:
        super().__init__(
            f"the tool result was tokenized with map {actual}, "
            f"the reader holds {expected}; use its text instead"
        )
        self.expected = expected
        self.actual = actual


# Maps and discovery


class TokenizerMapValidationError(CodecError, ValueError):
    """A tokenizer map breaks the protocol; the message names the field."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class TokenizerMapHashMismatchError(CodecError, ValueError):
    """The bytes of a tokenizer map do not have the hash asked for."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"the tokenizer map has hash {actual}, not the pinned {expected}")
        self.expected = expected
        self.actual = actual


class UnencodableTextError(CodecError, ValueError):
    """A text has no ids: it holds a lone surrogate, or a character that the vocabulary cannot spell."""


class MapBuildError(CodecError, ValueError):
    """A tokenizer file is damaged, or does something that a map cannot say."""


class MapDiscoveryError(CodecError, ValueError):
    """A map cannot be discovered: a bad id, a malformed or oversized document, a URL that is not allowed."""


class MapDiscoveryNotFoundError(MapDiscoveryError):
    """The server does not have the document."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"nothing at {url} (HTTP {status})")
        self.url = url
        self.status = status


class SafetyPolicyValidationError(CodecError, ValueError):
    """A safety policy descriptor is malformed; the message names the field."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class SafetyPolicyHashMismatchError(CodecError, ValueError):
    """A safety policy does not have the hash asked for."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"the safety policy has hash {actual}, not {expected}")
        self.expected = expected
        self.actual = actual


class SafetyPolicyDiscoveryError(CodecError, ValueError):
    """A safety policy cannot be discovered."""


class SafetyPolicyDiscoveryNotFoundError(SafetyPolicyDiscoveryError):
    """The server does not have the policy."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"nothing at {url} (HTTP {status})")
        self.url = url
        self.status = status
