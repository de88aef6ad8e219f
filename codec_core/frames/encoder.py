"""The one contract of all frame encoders: ids in, the bytes of one frame out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from codec_core.exceptions import FrameEncodeError
from codec_core.frames.frame import CodecFrame, TokenId

_UINT32S = tuple[TokenId, ...]


def check_ids(ids: Iterable[int]) -> tuple[int, ...]:
    """Return `ids` as a tuple of uint32.

    Raises:
        FrameEncodeError: one of them is no integer, or lies outside 0..2^32-1.
    """
    try:
        return msgspec.convert(tuple(ids), _UINT32S)
    except msgspec.ValidationError as error:
        raise FrameEncodeError(f"ids must be integers in 0..2^32-1: {error}") from None


class FrameEncoder(ABC):
    """Writes the frames of one stream; each call returns the bytes of one frame, ready to send."""

    __slots__ = ("_done",)

    format: ClassVar[str]
    """The value of `stream_format`."""

    def __init__(self) -> None:
        self._done = False

    def encode(self, ids: Iterable[int], done: bool = False, finish_reason: str | None = None) -> bytes:
        """Return the bytes of one frame.

        Raises:
            FrameEncodeError: an id is out of range or no integer, or a frame that said `done` went before.
        """
        if self._done:
            raise FrameEncodeError("a frame after the one that said done")
        data = self._write(CodecFrame(check_ids(ids), bool(done), finish_reason))
        self._done = bool(done)
        return data

    @abstractmethod
    def _write(self, frame: CodecFrame) -> bytes:
        """Return the bytes of a frame whose ids are checked."""
