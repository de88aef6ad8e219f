"""Async shells over the decoders: an async iterable of bytes in, frames out.

They read the body to its end, also after the frame that says `done`: an HTTP connection whose body was not
read to the end cannot be used again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from codec_core.frames.decoder import FrameDecoder
from codec_core.frames.formats import decoder
from codec_core.frames.frame import MAX_FRAME_BYTES, MAX_FRAME_IDS, CodecFrame


def decode_stream(
    body: AsyncIterable[bytes],
    fmt: str = "msgpack",
    *,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    max_frame_ids: int = MAX_FRAME_IDS,
) -> AsyncIterator[CodecFrame]:
    """Return the frames of a body as they arrive.

    Frames that are complete before an error are yielded before it is raised.

    Raises:
        FrameError: (while iterating) the stream breaks the protocol or ends too early.
        UnsupportedFormatError: `fmt` is not a stream format.
    """
    return _frames(body, decoder(fmt, max_frame_bytes=max_frame_bytes, max_frame_ids=max_frame_ids))


def decode_msgpack_stream(body: AsyncIterable[bytes]) -> AsyncIterator[CodecFrame]:
    """Return the frames of a MessagePack body, plain or delta; see `decode_stream`."""
    return decode_stream(body, "msgpack")


def decode_protobuf_stream(body: AsyncIterable[bytes]) -> AsyncIterator[CodecFrame]:
    """Return the frames of a protobuf body, plain or delta; see `decode_stream`."""
    return decode_stream(body, "protobuf")


async def _frames(body: AsyncIterable[bytes], frames: FrameDecoder) -> AsyncIterator[CodecFrame]:
    feed = frames.feed
    async for chunk in body:
        for frame in feed(chunk):
            yield frame
        if frames.error is not None:
            break
    frames.close()
