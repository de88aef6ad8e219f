"""The values of a turn's ids, kept for a client that asks for the same answer again."""

from __future__ import annotations

from typing import Final

from codec_core.exceptions import FrameEncodeError
from codec_core.frames import SampledValues
from codec_core.frames.values import joined_values, pack_values, unpack_values

MOST_BYTES: Final = 1024 * 1024
"""Of one answer's values, packed: 130,000 ids, or 4,000 with 20 alternatives each."""


class KeptValues:
    """The values of one answer: as they come, and then packed.

    Attributes:
        lost: whether they were too many to be kept, so that the answer cannot be given again.
    """

    def __init__(self) -> None:
        self.lost = False
        self._parts: list[SampledValues] = []
        self._packed: bytes | None = None

    def add(self, values: SampledValues) -> None:
        """Take the values of a frame."""
        self._parts.append(values)

    def pack(self, ids: int) -> None:
        """End the answer, which has so many ids."""
        values, self._parts = joined_values(self._parts), []
        if values is None:
            return
        try:
            packed = pack_values(values, ids)
        except FrameEncodeError:  # too many for a frame, or not as many as ids
            self.lost = True
            return
        self.lost = len(packed) > MOST_BYTES
        self._packed = None if self.lost else packed

    def of(self, ids: int) -> SampledValues | None:
        """Return the values of all ids; None where there are none."""
        return None if self._packed is None else unpack_values(self._packed, ids)
