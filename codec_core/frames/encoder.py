"""The contract of all frame encoders: ids in, the bytes of one frame out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from codec_core.exceptions import CONVERSION_ERRORS, FrameEncodeError
from codec_core.frames.frame import CodecFrame, SampledValues, TokenId
from codec_core.frames.values import pack_values

_UINT32S = tuple[TokenId, ...]


def check_ids(ids: Iterable[int]) -> tuple[int, ...]:
    """Return `ids` as a tuple of uint32.

    Raises:
        FrameEncodeError: one of them is not an integer, or is outside 0..2^32-1.
    """
    try:
        return msgspec.convert(tuple(ids), _UINT32S)
    except CONVERSION_ERRORS as error:
        raise FrameEncodeError(f"ids must be integers in 0..2^32-1: {error}") from None


def check_reason(reason: str | None) -> None:
    """Check that a finish reason can be written.

    Raises:
        FrameEncodeError: it is not text, or holds a lone surrogate, which has no UTF-8 form.
    """
    if reason is None:
        return
    if not isinstance(reason, str):
        raise FrameEncodeError(f"finish_reason must be text, got {reason!r}")
    try:
        reason.encode()
    except UnicodeEncodeError as error:
        raise FrameEncodeError(f"finish_reason is not Unicode: {error}") from None


class FrameEncoder(ABC):
    """Writes the frames of one stream; each call returns the bytes of one frame, ready to send."""

    __slots__ = ("_done",)

    format: ClassVar[str]
    """The value of `stream_format`."""

    def __init__(self) -> None:
        self._done = False

    def encode(
        self,
        ids: Iterable[int],
        done: bool = False,
        finish_reason: str | None = None,
        values: SampledValues | None = None,
    ) -> bytes:
        """Return the bytes of one frame.

        Raises:
            FrameEncodeError: an id is out of range or no integer, the reason is no text, there are not as
                many values as ids, or a frame that said `done` went before.
        """
        if self._done:
            raise FrameEncodeError("a frame after the one that said done")
        check_reason(finish_reason)
        frame = CodecFrame(check_ids(ids), bool(done), finish_reason)
        data = self._write(frame)
        if values is not None:
            data = self._add(data, pack_values(values, len(frame.ids)))
        self._done = bool(done)  # last: a frame that was refused did not end the stream
        return data

    @abstractmethod
    def _write(self, frame: CodecFrame) -> bytes:
        """Return the bytes of a frame with checked ids."""

    @abstractmethod
    def _add(self, data: bytes, packed: bytes) -> bytes:
        """Return the bytes of a frame with packed values added to it."""
