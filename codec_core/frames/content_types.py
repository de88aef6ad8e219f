"""The content types of the stream formats: those to write, and those that servers in the field send."""

from __future__ import annotations

from typing import Literal

from codec_core.exceptions import UnsupportedFormatError

StreamFormat = Literal[
    "msgpack", "protobuf", "msgpack-delta", "protobuf-delta", "msgpack-compact", "msgpack-packed"
]
"""A value of `stream_format`."""

CONTENT_TYPES: dict[str, str] = {
    "msgpack": "application/x-msgpack",
    "protobuf": "application/x-protobuf",
    "msgpack-delta": "application/x-msgpack",
    "protobuf-delta": "application/x-protobuf",
    "msgpack-compact": "application/x-msgpack",
    "msgpack-packed": "application/x-msgpack",
}
"""The content type to write. The forms of an encoding share one: the frames themselves differ."""

_READ = {
    f"application/{prefix}{name}": name
    for name in ("msgpack", "protobuf")
    for prefix in ("", "x-", "codec+", "x-codec-")
}


def format_of_content_type(content_type: str) -> StreamFormat:
    """Return `msgpack` or `protobuf` for the content type of a response; parameters and case do not matter.

    Raises:
        UnsupportedFormatError: it is another type: JSON or SSE from an engine that ignored `stream_format`.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    name = _READ.get(media_type)
    if name is None:
        raise UnsupportedFormatError(
            f"{content_type!r} is not a content type of Codec frames; the server answered in another form"
        )
    return "msgpack" if name == "msgpack" else "protobuf"
