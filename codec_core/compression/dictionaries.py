"""zstd dictionaries: named by their hash, trained on streams, found for a response, never guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from codec_core.exceptions import CodecZstdDictError, MissingExtraError

ZSTD_DICT_HEADER = "Codec-Zstd-Dict"

DEFAULT_DICT_BYTES = 16 * 1024
"""The size of a dictionary: enough for what frames of a format share. Every client downloads it."""

MIN_SAMPLES = 8
"""The fewest samples. With fewer, zstd's trainer fails with a message about its internals."""


def hash_zstd_dict(dict_bytes: bytes) -> str:
    """Return the name of a dictionary: `sha256:<hex>` of its bytes."""
    return "sha256:" + hashlib.sha256(dict_bytes).hexdigest()


def select_zstd_dict_for_response(
    response_headers: Mapping[str, str], *, loaded_dicts: Mapping[str, bytes]
) -> bytes | None:
    """Return the dictionary that a response is compressed with; None for a response that is not zstd.

    Args:
        response_headers: in any case.
        loaded_dicts: the dictionaries at hand, by `sha256:<hex>`.

    Raises:
        CodecZstdDictError: zstd without the header, the header without zstd, a dictionary that is not at
            hand, or one whose bytes do not have the hash it is kept under.
    """
    headers = {name.lower(): value.strip() for name, value in response_headers.items()}
    encoding = headers.get("content-encoding", "").lower()
    return select_zstd_dict(encoding, headers.get(ZSTD_DICT_HEADER.lower()), loaded_dicts)


def select_zstd_dict(encoding: str, named: str | None, loaded_dicts: Mapping[str, bytes]) -> bytes | None:
    """Return the dictionary for a body of this encoding that names this dictionary.

    Raises:
        CodecZstdDictError: encoding and name do not fit together, or the dictionary is not loaded or not
        itself.
    """
    if encoding != "zstd":
        if named:
            raise CodecZstdDictError(
                f"the response names a zstd dictionary, but is encoded as {encoding or 'identity'}"
            )
        return None
    if not named:
        raise CodecZstdDictError(
            f"the response is zstd, but has no {ZSTD_DICT_HEADER} header to name its dictionary"
        )
    if named not in loaded_dicts:
        raise CodecZstdDictError(
            f"the response needs the zstd dictionary {named}, which is not loaded: fetch it as the map's "
            "zstd_dictionaries say, or do not accept zstd"
        )
    dictionary = loaded_dicts[named]
    actual = hash_zstd_dict(dictionary)
    if actual != named:
        raise CodecZstdDictError(f"the dictionary loaded as {named} has hash {actual}")
    return dictionary


def train_zstd_dict(samples: Iterable[bytes], *, size: int = DEFAULT_DICT_BYTES) -> bytes:
    """Return a dictionary trained on sample streams, of `size` bytes at most.

    A sample is one body as it would be sent uncompressed; hundreds of them do better than one long one.

    Raises:
        CodecZstdDictError: there are too few samples, or nothing in them repeats.
        MissingExtraError: the package `zstandard` is not installed.
    """
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("zstd", "zstandard") from None
    bodies: list[bytes | bytearray | memoryview] = [bytes(sample) for sample in samples]
    if len(bodies) < MIN_SAMPLES:
        raise CodecZstdDictError(
            f"training a dictionary needs {MIN_SAMPLES} samples or more, got {len(bodies)}"
        )
    try:
        trained: bytes = zstandard.train_dictionary(size, bodies).as_bytes()
    except zstandard.ZstdError as error:
        raise CodecZstdDictError(f"no dictionary can be trained from these samples: {error}") from None
    return trained
