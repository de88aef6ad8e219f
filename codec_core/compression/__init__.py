"""Content encodings of a stream: their choice, their headers, their readers and writers.

`gzip` and `deflate` are always there; `br` and `zstd` come with the extra `compression`. zstd is used only
with a trained dictionary that the response names.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from codec_core.compression.compressors import (
    BrotliCompressor,
    Compressor,
    IdentityCompressor,
    ZlibCompressor,
    ZstdCompressor,
)
from codec_core.compression.decompressors import (
    DEFAULT_BUDGET,
    BrotliDecompressor,
    Decompressor,
    IdentityDecompressor,
    ZlibDecompressor,
    ZstdDecompressor,
)
from codec_core.compression.dictionaries import (
    ZSTD_DICT_HEADER,
    hash_zstd_dict,
    select_zstd_dict,
    select_zstd_dict_for_response,
    train_zstd_dict,
)
from codec_core.exceptions import CodecZstdDictError, UnsupportedEncodingError
from codec_core.versions import VARY

__all__ = [
    "DEFAULT_BUDGET",
    "SERVER_PREFERENCE",
    "ZSTD_DICT_HEADER",
    "Compressor",
    "Decompressor",
    "accept_encoding",
    "choose_encoding",
    "compressor",
    "decompressor",
    "encoding_headers",
    "hash_zstd_dict",
    "select_zstd_dict_for_response",
    "train_zstd_dict",
]

SERVER_PREFERENCE = ("zstd", "br", "gzip", "identity")

_PACKAGES = {"br": "brotli", "zstd": "zstandard"}
_ALIASES = {"": "identity", "x-gzip": "gzip"}


def decompressor(
    encoded: str | Mapping[str, str] | None,
    *,
    dictionaries: Mapping[str, bytes] | None = None,
    zstd_dict: str | None = None,
    budget: int = DEFAULT_BUDGET,
) -> Decompressor:
    """Return the reader for a body.

    Args:
        encoded: the response's headers, or the value of `Content-Encoding` alone.
        dictionaries: the zstd dictionaries at hand, by `sha256:<hex>`.
        zstd_dict: the value of `Codec-Zstd-Dict`, where `encoded` is not the headers.
        budget: how many bytes the body may decompress to.

    Raises:
        UnsupportedEncodingError: the encoding cannot be read.
        CodecZstdDictError: the dictionary is unnamed, not loaded, of another hash, or named without zstd.
        MissingExtraError: the encoding needs the extra `compression`.
    """
    if isinstance(encoded, Mapping):
        headers = {name.lower(): value for name, value in encoded.items()}
        encoded, zstd_dict = headers.get("content-encoding"), headers.get(ZSTD_DICT_HEADER.lower())
    encoding = _normal(encoded)
    # Checked first and for every encoding: a dictionary that is named without zstd is an error too.
    dictionary = select_zstd_dict(encoding, (zstd_dict or "").strip() or None, dictionaries or {})
    if dictionary is not None:
        return ZstdDecompressor(dictionary, budget)
    if encoding == "br":
        return BrotliDecompressor(budget)
    if encoding in ("gzip", "deflate"):
        return ZlibDecompressor(encoding, budget)
    if encoding == "identity":
        return IdentityDecompressor(budget)
    raise UnsupportedEncodingError(f"no reader for Content-Encoding {encoded!r}")


def compressor(encoding: str | None, dictionary: bytes | None = None) -> Compressor:
    """Return the writer for a body.

    Raises:
        UnsupportedEncodingError: the encoding cannot be written.
        CodecZstdDictError: zstd without a dictionary, or with bytes that are not one.
        MissingExtraError: the encoding needs the extra `compression`.
    """
    name = _normal(encoding)
    if name == "zstd":
        if dictionary is None:
            raise CodecZstdDictError(
                "zstd is only used with a trained dictionary; give one, or use br or gzip"
            )
        return ZstdCompressor(dictionary)
    if name == "br":
        return BrotliCompressor()
    if name in ("gzip", "deflate"):
        return ZlibCompressor(name)
    if name == "identity":
        return IdentityCompressor()
    raise UnsupportedEncodingError(f"no writer for Content-Encoding {encoding!r}")


def accept_encoding(*, dictionaries: bool = False) -> str:
    """Return the `Accept-Encoding` of a client: the installed encodings; zstd only with a dictionary."""
    return ", ".join(name for name in ("zstd", "br", "gzip") if _usable(name, dictionaries))


def choose_encoding(accepted: str | None, *, dictionary: bool = False) -> str:
    """Return the encoding that a server uses for a client's `Accept-Encoding`, by `SERVER_PREFERENCE`.

    A client that says nothing gets the identity. `dictionary` says whether the server has one for this
    stream.
    """
    weights = _weights(accepted or "")
    for name in SERVER_PREFERENCE[:-1]:
        if weights.get(name, weights.get("*", 0.0)) > 0 and _usable(name, dictionary):
            return name
    return "identity"


def encoding_headers(encoding: str, dictionary: bytes | None = None) -> dict[str, str]:
    """Return the response headers that describe the encoding of a body, and always `Vary`."""
    headers = {"Vary": VARY}
    if _normal(encoding) != "identity":
        headers["Content-Encoding"] = _normal(encoding)
    if _normal(encoding) == "zstd" and dictionary is not None:
        headers[ZSTD_DICT_HEADER] = hash_zstd_dict(dictionary)
    return headers


def _normal(encoding: str | None) -> str:
    name = (encoding or "").strip().lower()
    return _ALIASES.get(name, name)


def _usable(name: str, dictionary: bool) -> bool:
    if name == "zstd" and not dictionary:
        return False
    return name not in _PACKAGES or find_spec(_PACKAGES[name]) is not None


def _weights(accepted: str) -> dict[str, float]:
    weights = {}
    for item in accepted.split(","):
        name, _, parameters = item.partition(";")
        weights[_normal(name)] = _weight(parameters)
    return weights


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
