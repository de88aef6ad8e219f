"""Values of ids on the wire: the same values in every form of frame, however cut; or a typed error."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_core.exceptions import FrameEncodeError, FrameError, MalformedFrameError
from codec_core.frames import (
    DECODERS,
    CodecFrame,
    SampledValues,
    ValuedFrame,
    WeightVersion,
    decoder,
    encoder,
)
from codec_core.frames.values import (
    MAX_ALTERNATIVES,
    first_ids,
    joined_values,
    pack_values,
    unpack_values,
    with_values,
)
from tests.cases import cases

VALUES = SampledValues(
    (-0.1, -math.inf), (((7, -0.1), (3, -2.5)), ()), (), (WeightVersion("step-1", 0, 2),), "AQ=="
)

numbers = st.floats(allow_nan=False, max_value=0)
token = st.integers(0, 2**32 - 1)


@st.composite
def valued_frames(draw):
    ids = tuple(draw(st.lists(token, max_size=6)))
    row = st.lists(st.tuples(token, numbers), max_size=3).map(tuple)
    top = tuple(draw(row) for _ in ids) if draw(st.booleans()) else ()
    mask = tuple(draw(st.lists(st.lists(token, max_size=3).map(tuple), max_size=4)))
    values = SampledValues(tuple(draw(numbers) for _ in ids), top, mask)
    return with_values(CodecFrame(ids, False), draw(st.sampled_from((None, values))))


def written(fmt, frames):
    out = encoder(fmt)
    return b"".join(out.encode(frame.ids, frame.done, frame.finish_reason, frame.values) for frame in frames)


def read(fmt, data, cut):
    body, frames = decoder(fmt), []
    for at in range(0, len(data), cut):
        frames += body.feed(data[at : at + cut])
    body.close()
    return frames


@settings(max_examples=cases(40))
@given(st.lists(valued_frames(), max_size=4), st.integers(1, 90), st.sampled_from(sorted(DECODERS)))
def test_values_are_read_as_they_were_written_however_cut(frames, cut, fmt):
    frames = [*frames, CodecFrame((), True, "stop")]
    assert read(fmt, written(fmt, frames), cut) == frames


@pytest.mark.parametrize("fmt", sorted(DECODERS))
def test_frames_without_values_are_the_bytes_that_they_were(fmt):
    plain, valued = encoder(fmt), encoder(fmt)
    data = plain.encode([5, 70_000])
    longer = valued.encode([5, 70_000], values=VALUES)
    assert len(longer) > len(data)
    assert read(fmt, longer + valued.encode([], True), 7)[0] == ValuedFrame((5, 70_000), False, None, VALUES)
    assert type(decoder(fmt).feed(data)[0]) is CodecFrame
    assert decoder(fmt).feed(data)[0].values is None


def test_golden_bytes_of_the_compact_forms():
    """`done` is left out where it is false."""
    compact, packed = encoder("msgpack-compact"), encoder("msgpack-packed")
    assert compact.encode([300]) == bytes.fromhex("81 00 91 cd012c")
    assert compact.encode([5], True, "eos") == bytes.fromhex("83 00 91 05 01 c3 02 a3") + b"eos"
    assert packed.encode([300, 5]) == bytes.fromhex("81 00 c403 ac02 05")
    assert packed.encode([], True) == bytes.fromhex("82 00 c400 01 c3")


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x00\xc4\x05\xff\xff\xff\xff\x7f",  # a varint past 32 bits
        b"\x81\x00\xc4\x01\x80",  # one that is cut off
        b"\x81\x00\xa1x",
        b"\x81\x01\xc2",  # neither ids nor an end
        b"\x82\x00\x91\x05\x01\x07",
        b"\x82\x00\x91\x05\x02\xc3",
        b"\x83\x00\x91\x05\x01\x05\x01\xc3",  # a second value does not mend the first
    ],
    ids=repr,
)
@pytest.mark.parametrize("cut", [1, 99])
def test_malformed_compact_frames_are_typed_errors(data, cut):
    with pytest.raises(MalformedFrameError):
        read("msgpack-compact", data, cut)


@pytest.mark.parametrize("unknown", [{0: [2]}, {0: "x"}, {1: "x"}, {2: True}, {0: b"\x80", 15: {"a": [1]}}])
@pytest.mark.parametrize("cut", [1, 99])
def test_beside_names_numbers_are_unknown_keys(unknown, cut):
    named = {"ids": [1], "done": True}
    for fields in ({**named, **unknown}, {**unknown, **named}, {"ids": [1], **unknown, "done": True}):
        assert read("msgpack", msgspec.msgpack.encode(fields), cut) == [CodecFrame((1,), True)]


def test_values_of_another_number_of_ids_are_refused_on_both_sides():
    with pytest.raises(FrameEncodeError, match="2 logprobs for 3 ids"):
        encoder("msgpack").encode([1, 2, 3], values=VALUES)
    with pytest.raises(FrameEncodeError, match="alternatives"):
        pack_values(SampledValues(top=(((1, 0.0),) * (MAX_ALTERNATIVES + 1),)), 1)
    with pytest.raises(FrameEncodeError, match="no place on the wire"):
        pack_values(SampledValues(top=(((2**32, 0.0),),)), 1)
    for unsent in (
        SampledValues(weight_versions=(WeightVersion("a", 0, 1),) * 1025),
        SampledValues(weight_versions=(WeightVersion("a", -1, 2),)),
        SampledValues(weight_versions=(WeightVersion("a", 0, 2**70),)),
        SampledValues(weight_versions=(WeightVersion("\ud800", 0, 2),)),
        SampledValues(routed_experts="\ud800"),
    ):
        with pytest.raises(FrameEncodeError, match="no place on the wire"):
            pack_values(unsent, 0)
    packed = pack_values(VALUES, 2)
    for ids in (1, 3):
        with pytest.raises(ValueError, match=f"for {ids} ids"):
            unpack_values(packed, ids)
    for fmt, key in (("msgpack", b"\xa6values"), ("msgpack-compact", b"\x0f")):
        good = encoder(fmt).encode([1, 2], values=VALUES)
        assert key in good
        bad = good.replace(packed, pack_values(SampledValues((0.0,)), 1).ljust(len(packed), b"\xc0"))
        with pytest.raises(FrameError):
            read(fmt, bad, 5)


def packed(**fields):
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xc1", "cannot be read"),
        (b"\x91" * 5_000, "cannot be read"),
        (packed(logprobs=bytes(9)), "of 9 bytes for 1 ids"),
        (packed(top_ids=bytes(4), top_sizes=bytes(4)), "shorter"),
        (packed(top_sizes=b"\xff\xff\xff\xff"), "do not add up"),
        (packed(mask_ids=bytes(3)), "no whole number"),
        (packed(mask_ids=bytes(4 * 2**20 + 4)), "the limit is"),
        (packed(weight_versions=[["a", -1, 2]]), "cannot be read"),
        (packed(weight_versions=[["a", 0, 1]] * 1025), "cannot be read"),
    ],
    ids=str,
)
def test_malformed_values_are_errors(data, said):
    with pytest.raises(ValueError, match=said):
        unpack_values(data, 1)


def test_a_field_of_the_same_name_that_is_no_values_is_skipped():
    """Other servers may have a field `values` of their own: this project's is a string of bytes."""
    frame = msgspec.msgpack.encode({"ids": [1], "done": True, "values": {"x": [1, 2]}})
    assert read("msgpack", frame, 4) == [CodecFrame((1,), True)]


def test_frames_are_joined_and_cut_with_their_values():
    one, two = SampledValues((-1.0,), (((1, -1.0),),)), SampledValues((-2.0,), (((2, -2.0),),), (), (), "x")
    both = joined_values([one, two])
    assert both == SampledValues((-1.0, -2.0), (((1, -1.0),), ((2, -2.0),)), (), (), "x")
    assert joined_values([]) is None
    assert first_ids(ValuedFrame((1, 2), True, "stop", both), 1) == ValuedFrame((1,), False, None, one)
    assert type(first_ids(CodecFrame((1, 2), True), 1)) is CodecFrame
