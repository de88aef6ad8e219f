"""Values that a server gives with sampled ids, and their bytes, which are the same in every frame format.

They are this project's own addition to the protocol: readers that do not know them skip one key, and frames
without them are what they were. `docs/wire.md` describes the bytes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec

from codec_core.exceptions import CONVERSION_ERRORS, DECODE_ERRORS, FrameEncodeError
from codec_core.frames.frame import CodecFrame, SampledValues, ValuedFrame, WeightVersion

MAX_ALTERNATIVES = 2**18
"""The most alternatives of all ids of a frame: 20 for each of 13,000 ids; about 30 MB as Python's objects."""

MAX_MASK_IDS = 2**20
"""The most ids of an answer's sampling mask: 64 for each of 16,000 ids; about 40 MB as Python's objects."""

MAX_SPANS = 1024
"""The most weight versions within one answer: a trainer updates weights every few seconds at most."""


def with_values(frame: CodecFrame, values: SampledValues | None) -> CodecFrame:
    """Return a frame with values, or the frame itself where there are none."""
    return frame if values is None else ValuedFrame(frame.ids, frame.done, frame.finish_reason, values)


def first_ids(frame: CodecFrame, count: int) -> CodecFrame:
    """Return the first ids of a frame, with their values; values of the whole answer are left out."""
    values = frame.values
    if values is not None:
        values = SampledValues(values.logprobs[:count], values.top[:count])
    return with_values(CodecFrame(tuple(frame.ids[:count]), False), values)


def joined_values(parts: Sequence[SampledValues]) -> SampledValues | None:
    """Return the values of several frames of one answer as one; None for none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return SampledValues(
        tuple(chain.from_iterable(part.logprobs for part in parts)),
        tuple(chain.from_iterable(part.top for part in parts)),
        tuple(chain.from_iterable(part.sampling_mask for part in parts)),
        tuple(chain.from_iterable(part.weight_versions for part in parts)),
        # One value for the whole answer, whose parts cannot be joined.
        next((part.routed_experts for part in parts if part.routed_experts is not None), None),
    )


def count_fault(values: SampledValues, ids: int) -> str | None:
    """Return what is wrong with the number of values that belong to so many ids; None if nothing is."""
    for name in ("logprobs", "top"):
        found = len(getattr(values, name))
        if found and found != ids:
            return f"{found} {name} for {ids} ids"
    return None


# --- bytes ---

_Span = tuple[str, Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]
_Spans = Annotated[tuple[_Span, ...], msgspec.Meta(max_length=MAX_SPANS)]


class _Packed(msgspec.Struct, omit_defaults=True):
    """The values as bytes: numbers of a fixed size, little-endian, so that no value costs an object."""

    logprobs: bytes = b""
    """float64 each."""
    top_ids: bytes = b""
    """uint32 each, of all ids one after another."""
    top_logprobs: bytes = b""
    """float64 each, one for each of `top_ids`."""
    top_sizes: bytes = b""
    """uint32 each: how many alternatives each id has."""
    mask_ids: bytes = b""
    mask_sizes: bytes = b""
    weight_versions: _Spans = ()
    routed_experts: str | None = None


_decode = msgspec.msgpack.Decoder(_Packed).decode
_encode = msgspec.msgpack.Encoder().encode


def pack_values(values: SampledValues, ids: int) -> bytes:
    """Return the bytes of the values of so many ids.

    Raises:
        FrameEncodeError: there are not as many values as ids, or a number has no place on the wire.
    """
    fault = count_fault(values, ids)
    if fault is None and sum(map(len, values.top)) > MAX_ALTERNATIVES:
        fault = f"a frame of more than {MAX_ALTERNATIVES} alternatives"
    if fault is None and sum(map(len, values.sampling_mask)) > MAX_MASK_IDS:
        fault = f"a sampling mask of more than {MAX_MASK_IDS} ids"
    if fault is not None:
        raise FrameEncodeError(fault)
    try:
        packed = _Packed(
            _floats(values.logprobs),
            _ints(token for row in values.top for token, _ in row),
            _floats(logprob for row in values.top for _, logprob in row),
            _ints(map(len, values.top)),
            _ints(token for row in values.sampling_mask for token in row),
            _ints(map(len, values.sampling_mask)),
            # As they are read: what the other side would refuse is not sent.
            msgspec.convert([list(span) for span in values.weight_versions], _Spans),
            values.routed_experts,
        )
        return _encode(packed)
    except (*CONVERSION_ERRORS, TypeError, OverflowError) as error:
        raise FrameEncodeError(f"values that have no place on the wire: {error}") from None


def unpack_values(data: bytes, ids: int) -> SampledValues:
    """Return the values of so many ids.

    Raises:
        ValueError: the bytes are no values, or not those of so many ids.
    """
    try:
        packed = _decode(data)
    except DECODE_ERRORS as error:
        raise ValueError(f"values cannot be read: {error}") from None
    # Before any number becomes an object: as many values as ids, which are bounded, and bounded rows of them.
    for name, numbers, size in (("logprobs", packed.logprobs, 8), ("top_sizes", packed.top_sizes, 4)):
        if numbers and len(numbers) != size * ids:
            raise ValueError(f"{name} of {len(numbers)} bytes for {ids} ids")
    for name, numbers, most in (
        ("top_ids", packed.top_ids, MAX_ALTERNATIVES),
        ("top_logprobs", packed.top_logprobs, 2 * MAX_ALTERNATIVES),  # of eight bytes, not four
        ("mask_ids", packed.mask_ids, MAX_MASK_IDS),
        ("mask_sizes", packed.mask_sizes, MAX_MASK_IDS),
    ):
        if len(numbers) > 4 * most:
            raise ValueError(f"{name} of {len(numbers)} bytes, the limit is {4 * most}")
    tops = list(zip(_read("I", packed.top_ids), _read("d", packed.top_logprobs), strict=True))
    return SampledValues(
        tuple(_read("d", packed.logprobs)),
        _rows(tops, _read("I", packed.top_sizes), "top"),
        _rows(_read("I", packed.mask_ids), _read("I", packed.mask_sizes), "mask"),
        tuple(WeightVersion(*span) for span in packed.weight_versions),
        packed.routed_experts,
    )


def _rows(flat: Sequence[Any], sizes: Sequence[int], name: str) -> tuple[tuple[Any, ...], ...]:
    """Return the rows of these sizes; together they are exactly what is there."""
    if sum(sizes) != len(flat):
        raise ValueError(f"{name}_sizes do not add up to what is there")
    rows, at = [], 0
    for size in sizes:
        rows.append(tuple(flat[at : at + size]))
        at += size
    return tuple(rows)


def _floats(numbers: Iterable[float]) -> bytes:
    return _swapped(array("d", numbers)).tobytes()


def _ints(numbers: Iterable[int]) -> bytes:
    return _swapped(array("I", numbers)).tobytes()


def _read(kind: str, data: bytes) -> array[Any]:
    numbers: array[Any] = array(kind)
    if len(data) % numbers.itemsize:
        raise ValueError(f"{len(data)} bytes are no whole number of values of {numbers.itemsize} bytes")
    numbers.frombytes(data)
    return _swapped(numbers)


def _swapped(numbers: array[Any]) -> array[Any]:
    """Swap the bytes where this machine is not little-endian, as the wire is."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


VALUES = b"\xa6values"
"""The key of values, as it stands on the wire."""


def with_entry(data: bytes, key: bytes, value: bytes) -> bytes:
    """Return a frame, a map of fewer than fifteen entries, with one more."""
    return bytes([data[0] + 1]) + data[1:] + key + _encode(value)
