"""Frames: whatever the cuts, the same frames; whatever the bytes, a frame or a typed error with its place."""

import contextlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codec_core.exceptions import (
    FrameEncodeError,
    FrameError,
    FrameTooLargeError,
    MalformedFrameError,
    NestingError,
    TrailingDataError,
    TruncatedStreamError,
    UnsupportedFormatError,
)
from codec_core.frames import (
    CONTENT_TYPES,
    DECODERS,
    MAX_ID,
    CodecFrame,
    CodecRequest,
    decode_msgpack_stream,
    decode_protobuf_frame,
    decode_protobuf_stream,
    decode_request,
    decode_stream,
    decoder,
    encode_request,
    encoder,
    format_of_content_type,
)
from codec_core.frames.decoder import MAX_EMPTY_FRAMES
from codec_core.frames.delta import to_deltas
from codec_core.frames.msgpack_counted import (
    DECODE_COUNTED,
    FEWEST,
    FRAMES_FIRST,
    LONGEST,
    MOST,
    SHORTEST,
    decoder_of,
    watching,
)
from tests.cases import cases
from tests.core.mutations import mutated
from tests.limits import within

FORMATS = tuple(DECODERS)
pack = msgspec.msgpack.encode

ids = st.one_of(st.integers(0, 300), st.integers(0, 200_000), st.integers(0, MAX_ID))
streams = st.lists(st.lists(ids, max_size=20).map(tuple), max_size=5)


def written(fmt, batches, finish_reason="stop"):
    """Return the bytes of a whole stream and its frames."""
    out = encoder(fmt)
    frames = [CodecFrame(batch, False) for batch in batches] + [CodecFrame((), True, finish_reason)]
    return b"".join(out.encode(frame.ids, frame.done, frame.finish_reason) for frame in frames), frames


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_come_as_any_kind_of_bytes(kind):
    frame = CodecFrame((1, 70_000), True, "stop")
    for fmt in FORMATS:
        assert decoder(fmt).feed(kind(encoder(fmt).encode(*msgspec.structs.astuple(frame)))) == [frame]
    message = encoder("protobuf").encode(*msgspec.structs.astuple(frame))[4:]
    assert decode_protobuf_frame(kind(message)) == frame
    request = CodecRequest(prompt_ids=(1, 70_000), stop=("a",))
    for fmt in ("msgpack", "protobuf"):
        assert decode_request(kind(encode_request(request, fmt)), fmt) == request


def read(fmt, data, cut=None, **options):
    """Feed a body in pieces; return the frames and the error, if there is one."""
    body = decoder(fmt, **options)
    frames = []
    step = cut or max(len(data), 1)
    try:
        for at in range(0, len(data), step):
            frames += body.feed(data[at : at + step])
        body.close()
    except FrameError as error:
        return frames, error
    return frames, None


def prefixed(*frames):
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


DONE = pack({"ids": [7], "done": True})
MORE = pack({"ids": [1, 2, 3], "done": False})


# Round trips and cuts


@settings(max_examples=cases(150))
@given(streams, st.integers(1, 40), st.sampled_from(FORMATS))
def test_what_is_written_is_read_however_cut(batches, cut, fmt):
    data, frames = written(fmt, batches)
    assert read(fmt, data, cut) == (frames, None)


@pytest.mark.parametrize("fmt", FORMATS)
def test_frames_come_out_with_their_last_byte(fmt):
    out, body = encoder(fmt), decoder(fmt)
    for number in range(5):
        data = out.encode([number, 70_000, 3_000_000_000], done=number == 4)
        for byte in data[:-1]:
            assert body.feed(bytes([byte])) == []
        assert [frame.ids[0] for frame in body.feed(data[-1:])] == [number]
    body.close()


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_decoder_takes_every_kind_of_bytes(fmt):
    data, frames = written(fmt, [(1, 2)])
    for kind in (bytes, bytearray, memoryview):
        body = decoder(fmt)
        assert body.feed(kind(data)) == frames
        body.close()
        assert body.done
        assert body.offset == len(data)


@given(streams, st.integers(1, 30))
def test_plain_and_delta_frames_may_be_mixed(batches, cut):
    for plain, delta in (("msgpack", "msgpack-delta"), ("protobuf", "protobuf-delta")):
        outs = [encoder(plain), encoder(delta)]
        pieces = [outs[number % 2].encode(batch) for number, batch in enumerate(batches)]
        data = b"".join([*pieces, encoder(plain).encode((), done=True)])
        frames, error = read(plain, data, cut)
        assert [frame.ids for frame in frames[:-1]] == batches
        assert error is None


@given(streams, st.integers(1, 30))
def test_msgpack_behind_lengths_is_told_from_the_first_byte(batches, cut):
    out = encoder("msgpack")
    data = prefixed(*[out.encode(batch) for batch in batches], out.encode((), done=True))
    frames, error = read("msgpack", data, cut)
    assert ([frame.ids for frame in frames[:-1]], error) == (batches, None)


@given(st.permutations(["ids", "done", "finish_reason", "x", "y"]), st.integers(1, 40))
def test_keys_come_in_any_order_and_unknown_ones_are_skipped(order, cut):
    values = {"ids": [1, 70_000], "done": True, "finish_reason": "stop"}
    values |= {
        "x": {"a": [1, 2.5, None, True, "s" * 300, b"b" * 300, -5]},
        "y": msgspec.msgpack.Ext(5, b"abc"),
    }
    data = pack({name: values[name] for name in order})
    assert read("msgpack", data, cut) == ([CodecFrame((1, 70_000), True, "stop")], None)


def test_keys_that_are_no_text_are_skipped():
    data = b"\x84\x05\x06" + b"\xa3ids\x91\x07" + b"\x91\x01\x02" + b"\xa4done\xc3"
    assert read("msgpack", data) == ([CodecFrame((7,), True)], None)


@pytest.mark.parametrize("cut", [None, 1])
@pytest.mark.parametrize("more", [b"", b"\xa1x\x01"])
def test_of_a_key_given_twice_the_last_counts(cut, more):
    twice = b"\xa3ids\x91\x05\xa4done\xc2\xa3ids\x92\x06\x07\xa4done\xc3" + more
    data = bytes([0x84 + bool(more)]) + twice
    assert read("msgpack", data, cut) == ([CodecFrame((6, 7), True)], None)


@pytest.mark.parametrize(
    "number",
    [
        b"\xcc\x05",
        b"\xcd\0\5",
        b"\xce\0\0\0\5",
        b"\xcf" + bytes(7) + b"\5",
        b"\xd0\5",
        b"\xd3" + bytes(7) + b"\5",
    ],
)
@pytest.mark.parametrize("cut", [None, 1])
def test_an_id_may_be_written_wider_than_needed(number, cut):
    data = b"\x82\xa3ids\x93" + number * 3 + b"\xa4done\xc3"
    assert read("msgpack", data, cut) == ([CodecFrame((5, 5, 5), True)], None)


def test_an_unknown_finish_reason_is_passed_on():
    assert (
        read("msgpack", pack({"ids": [], "done": True, "finish_reason": "moon"}))[0][0].finish_reason
        == "moon"
    )


def test_a_run_of_frames_is_read_in_one_go_with_a_partial_one_behind():
    body = decoder("msgpack")
    assert len(body.feed(MORE * 1000 + MORE[:-1])) == 1000
    assert len(body.feed(MORE[-1:] + DONE)) == 2
    body.close()


def test_ids_that_spell_a_key_do_not_confuse_the_count():
    batch = [int.from_bytes(b"\xa3ids", "big")] * 3
    frame = pack({"ids": batch, "done": False})
    frames, error = read("msgpack", frame * 5 + DONE)
    assert ([list(frame.ids) for frame in frames], error) == ([batch] * 5 + [[7]], None)


@pytest.fixture
def every_count_learned():
    for count in range(FEWEST, MOST + 1):
        DECODE_COUNTED[count] = decoder_of(count)


numbers = st.one_of(ids, st.sampled_from((-1, -40_000, MAX_ID + 1, 2**63, True, 1.5, "a", None)))


@settings(max_examples=cases(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(FEWEST - 2, MOST + 2) | st.integers(256, 400), min_size=1, max_size=6),
    st.integers(0, 2**32),
    numbers,
    st.booleans(),
)
def test_frames_of_a_number_to_be_counted_on_are_those_of_single_bytes(
    every_count_learned, counts, seed, one, turned
):
    """Also where a number is another one, the keys stand in another order, or something is no id."""
    batches = [[(seed >> at % 24) % (200, 40_000, MAX_ID)[at % 3] for at in range(count)] for count in counts]
    batches[-1][seed % len(batches[-1])] = one
    frames = [{"ids": batch, "done": False} for batch in batches]
    pieces = [pack(dict(reversed(frame.items())) if turned else frame) for frame in frames]
    expected, malformed = read("msgpack", b"".join([*pieces, DONE]), 1)
    body, found = decoder("msgpack"), []
    try:
        for piece in [*pieces, DONE]:
            found += body.feed(piece)
        body.close()
        error = None
    except FrameError as raised:
        error = raised
    assert found == expected
    assert (type(error), str(error)) == (type(malformed), str(malformed))


def test_a_number_of_ids_is_counted_on_after_some_frames_of_it():
    DECODE_COUNTED[20] = first = watching(20)
    body, frame = decoder("msgpack"), pack({"ids": list(range(70_000, 70_020)), "done": False})
    for _ in range(FRAMES_FIRST - 1):
        assert len(body.feed(frame)) == 1
    assert DECODE_COUNTED[20] is first
    body.feed(frame)
    assert DECODE_COUNTED[20] is not first
    with pytest.raises(msgspec.ValidationError, match="length 20"):
        DECODE_COUNTED[20](MORE)
    assert body.feed(frame) == [CodecFrame(tuple(range(70_000, 70_020)), False)]


@pytest.mark.parametrize("number", [0, MAX_ID])
def test_no_frame_of_few_ids_is_as_long_as_those_that_are_counted(number):
    assert len(pack({"ids": [number] * (FEWEST - 1), "done": False})) < SHORTEST
    assert len(pack({"ids": [number] * MOST, "done": False})) <= LONGEST


flat_values = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-9, 2**33), st.text("aé", max_size=9)
)
more_keys = st.dictionaries(st.sampled_from(("x", "id", "ids2", "donee")), flat_values, max_size=2)
some_ids = st.lists(ids, max_size=20)


@st.composite
def flat_frames(draw):
    """Draw a frame with its keys in any order, plain or delta, and unknown keys between them."""
    batch, base = draw(some_ids), draw(ids)
    fields = {"done": False} | draw(more_keys)
    if draw(st.booleans()):
        fields |= {"ids_delta": to_deltas(batch, base), "base_id": base}
    else:
        fields |= {"ids": batch}
    if draw(st.booleans()):
        fields["finish_reason"] = draw(st.sampled_from((None, "stop", "r" * 40)))
    return {name: fields[name] for name in draw(st.permutations(sorted(fields)))}, tuple(batch)


@settings(max_examples=cases(200))
@given(st.lists(flat_frames(), max_size=8), st.integers(1, 200), st.booleans())
def test_many_frames_of_a_chunk_are_those_of_single_bytes(drawn, cut, behind_lengths):
    pieces = [*(pack(fields) for fields, _ in drawn), DONE]
    data = prefixed(*pieces) if behind_lengths else b"".join(pieces)
    frames, error = read("msgpack", data, cut)
    assert error is None
    assert [frame.ids for frame in frames] == [*(batch for _, batch in drawn), (7,)]
    assert frames == read("msgpack", data, 1)[0] == read("msgpack", data)[0]


@pytest.mark.parametrize("cut", [None, 4099, pytest.param(13, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fmt", ["msgpack", "protobuf"])
def test_frames_without_ids_are_frames_up_to_a_limit_in_a_row(fmt, cut):
    empty, one = encoder(fmt).encode(()), encoder(fmt).encode([1])
    before = empty * MAX_EMPTY_FRAMES + one
    found, error = read(fmt, before + empty * (MAX_EMPTY_FRAMES + 1) + one, cut)
    assert (len(found), type(error)) == (2 * MAX_EMPTY_FRAMES + 1, MalformedFrameError)
    assert error.offset == len(before) + MAX_EMPTY_FRAMES * len(empty)


@pytest.mark.parametrize("frame", [pack({"ids": [], "done": False}), pack({"done": False, "ids": []})])
def test_a_flood_of_empty_frames_ends_soon(frame):
    body = decoder("msgpack")
    assert len(body.feed(frame * 2**20)) == MAX_EMPTY_FRAMES
    assert isinstance(body.error, MalformedFrameError)


# Ends


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_body_cut_anywhere_is_truncated_and_never_looks_finished(fmt):
    data, frames = written(fmt, [(1, 2), (70_000,)])
    for size in range(len(data)):
        found, error = read(fmt, data[:size])
        assert type(error) is TruncatedStreamError
        assert error.offset == size
        assert found == frames[: len(found)]


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("cut", [None, 1])
def test_bytes_after_done_are_an_error_that_loses_no_frame(fmt, cut):
    data, frames = written(fmt, [(1, 2)])
    found, error = read(fmt, data + b"\x00", cut)
    assert (found, type(error), error.offset) == (frames, TrailingDataError, len(data))


@pytest.mark.parametrize("cut", [None, 1])
def test_frames_before_an_error_are_handed_over_first(cut):
    found, error = read("msgpack", MORE * 3 + b"\xc1", cut)
    assert len(found) == 3
    assert type(error) is MalformedFrameError
    assert error.offset == 3 * len(MORE)


def test_an_error_is_final():
    body = decoder("msgpack")
    assert len(body.feed(MORE + b"\xc1")) == 1
    assert isinstance(body.error, MalformedFrameError)
    for call in (lambda: body.feed(DONE), lambda: body.feed(b""), body.close):
        with pytest.raises(MalformedFrameError):
            call()


# Malformed bytes


def frame_of(value, **more):
    return pack({"ids": value, "done": True} | more)


@pytest.mark.parametrize(
    ("data", "error", "offset"),
    [
        (b"\xc1", MalformedFrameError, 0),
        (b"{", MalformedFrameError, 0),
        (b"\x93\x01\x02\x03", MalformedFrameError, 0),
        (frame_of([-5]), MalformedFrameError, 6),
        (frame_of([1, 2**40]), MalformedFrameError, 7),
        (frame_of([1.0]), MalformedFrameError, 6),
        (frame_of([True]), MalformedFrameError, 6),
        (frame_of(["1"]), MalformedFrameError, 6),
        (frame_of([None]), MalformedFrameError, 6),
        (frame_of([[1]]), MalformedFrameError, 6),
        (frame_of(5), MalformedFrameError, 5),
        (frame_of(b"\x01\x02"), MalformedFrameError, 5),
        (pack({"ids": [], "done": 1}), MalformedFrameError, 11),
        (pack({"ids": [], "done": None}), MalformedFrameError, 11),
        (frame_of([], finish_reason=5), MalformedFrameError, 26),
        (b"\x83\xa3ids\x90\xa4done\xc3\xadfinish_reason\xa1\xff", MalformedFrameError, 27),
        (pack({"ids": []}), MalformedFrameError, 0),
        (pack({"done": True}), MalformedFrameError, 0),
        (b"\x80", MalformedFrameError, 0),
        (pack({"ids": [], "ids_delta": [], "base_id": 0, "done": True}), MalformedFrameError, 0),
        (pack({"ids_delta": [2], "done": True}), MalformedFrameError, 0),
        (pack({"ids_delta": [1], "base_id": 0, "done": True}), MalformedFrameError, 0),
        (pack({"ids_delta": [-1], "base_id": 0, "done": True}), MalformedFrameError, 12),
        (pack({"base_id": -1, "ids_delta": [], "done": True}), MalformedFrameError, 9),
        (pack({"base_id": 2**32, "ids_delta": [], "done": True}), MalformedFrameError, 9),
        (b"\x82\xa3ids\xdd\xff\xff\xff\xff", FrameTooLargeError, 6),
        (b"\x82\xa1x\xdd\xff\xff\xff\xff", FrameTooLargeError, 4),
        (b"\x82\xa1x\xdf\xff\xff\xff\xff", FrameTooLargeError, 4),
        (b"\xde\x00\x41" + b"\xa1a\xc0" * 65, MalformedFrameError, 0),
        (b"\x82\xa1x\xdd\x00\x04\x00\x01", MalformedFrameError, 8),
        (b"\x82\xdb\xff\xff\xff\xff", FrameTooLargeError, 6),
        (b"\xdf\xff\xff\xff\xff", FrameTooLargeError, 1),
        (b"\x01\x00\x00\x01", FrameTooLargeError, 0),
        (b"\x82\xa1x" + b"\x91" * 100_000, NestingError, 12),
        (b"\x82" + b"\x81" * 100_000, NestingError, 10),
        (prefixed(b""), MalformedFrameError, 4),
        (prefixed(DONE[:-1]), MalformedFrameError, 4 + len(DONE) - 1),
        (prefixed(DONE + b"\x00"), MalformedFrameError, 4 + len(DONE)),
    ],
)
@pytest.mark.parametrize("cut", [None, 1])
def test_malformed_msgpack_is_a_typed_error_with_its_place(data, error, offset, cut):
    found, caught = read("msgpack", MORE + data if data[:1] > b"\x01" else data, cut)
    before = len(MORE) if data[:1] > b"\x01" else 0
    assert len(found) == bool(before)
    assert type(caught) is error, caught
    assert caught.offset == before + offset


def message(*fields):
    return b"".join(fields)


@pytest.mark.parametrize(
    ("data", "error", "offset"),
    [
        (b"\x0a\x02\x01", MalformedFrameError, 0),
        (b"\x0a\x01\x80", MalformedFrameError, 2),
        (b"\x0a\x05\xff\xff\xff\xff\x1f", MalformedFrameError, 2),
        (b"\x0a\x0b" + b"\xff" * 10 + b"\x01", MalformedFrameError, 2),
        (b"\x08\xff\xff\xff\xff\x1f", MalformedFrameError, 0),
        (b"\x08" + b"\xff" * 9 + b"\x7f", MalformedFrameError, 1),
        (b"\x09" + bytes(8), MalformedFrameError, 0),
        (b"\x0d" + bytes(4), MalformedFrameError, 0),
        (b"\x12\x01\x01", MalformedFrameError, 0),
        (b"\x18\x01", MalformedFrameError, 0),
        (b"\x1a\x01\xff", MalformedFrameError, 2),
        (b"\x20\x80\x80\x80\x80\x20", MalformedFrameError, 0),
        (b"\x20\x00\x0a\x01\x01", MalformedFrameError, 0),
        (b"\x00\x01", MalformedFrameError, 0),
        (b"\x0e", MalformedFrameError, 0),
        (b"\x3c", MalformedFrameError, 0),
        (b"\x3b\x08", MalformedFrameError, 2),
        (b"\x3b\x44", MalformedFrameError, 1),
        (b"\x3b" * 100_000, NestingError, 9),
        (b"\x7a\xff\xff\xff\xff\x0f", MalformedFrameError, 0),
        (b"\x80", MalformedFrameError, 0),
        pytest.param(b"\x78\x00" * (2**18 + 1), MalformedFrameError, 2**19, marks=pytest.mark.slow),
        (b"\x3b" + b"\x78\x00" * 2**18 + b"\x3c", MalformedFrameError, 2**19 - 1),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("cut", [None, 997])
def test_malformed_protobuf_is_a_typed_error_with_its_place(data, error, offset, cut):
    found, caught = read("protobuf", prefixed(b"\x08\x01", data), cut)
    assert len(found) == 1
    assert type(caught) is error, caught
    assert caught.offset == 10 + offset
    with pytest.raises(error):
        decode_protobuf_frame(data)


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (b"", CodecFrame((), False)),
        (b"\x08\x01\x08\xff\xff\xff\xff\x0f", CodecFrame((1, MAX_ID), False)),
        (b"\x08\x01\x0a\x02\x02\x03\x08\x04", CodecFrame((1, 2, 3, 4), False)),
        (b"\x10\x01\x0a\x01\x05", CodecFrame((5,), True)),
        (b"\x0a\x05\xff\xff\xff\xff\x0f", CodecFrame((MAX_ID,), False)),
        (b"\x0a\x02\x85\x00", CodecFrame((5,), False)),
        (b"\x0a\x06\x85\x80\x80\x80\x80\x00", CodecFrame((5,), False)),
        (b"\x10\x00\x1a\x04stop", CodecFrame((), False, "stop")),
        (b"\x32\x03abc\x3d1234\x3912345678\x28\x05\x10\x01", CodecFrame((), True)),
        (b"\x3b\x08\x01\x43\x44\x3c\x10\x01", CodecFrame((), True)),
        (b"\x20\x05\x0a\x02\x02\x01", CodecFrame((6, 5), False)),
        (
            b"\x20" + b"\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x0a\x01\x02",
            CodecFrame((2**32 - 4,), False),
        ),
    ],
)
def test_every_form_that_protobuf_allows_is_read(data, frame):
    assert decode_protobuf_frame(data) == frame


@given(streams, st.sampled_from(FORMATS), st.integers(1, 12), st.integers(1, 40), st.booleans())
@settings(max_examples=cases(300))
def test_the_first_frame_of_too_many_ids_ends_a_stream_however_cut(batches, fmt, most, cut, prefixed):
    out = encoder(fmt)
    parts = [out.encode(batch) for batch in batches] + [out.encode((), done=True)]
    if prefixed and fmt.startswith("msgpack"):
        parts = [len(part).to_bytes(4, "big") + part for part in parts]
    fine = next((at for at, batch in enumerate(batches) if len(batch) > most), None)
    for step in (None, cut):
        frames, error = read(fmt, b"".join(parts), step, max_frame_ids=most)
        assert [frame.ids for frame in frames] == ([*batches, ()] if fine is None else batches[:fine])
        assert error is None if fine is None else type(error) is FrameTooLargeError
        if error is not None:
            start = sum(map(len, parts[:fine]))
            assert error.limit == most
            assert start <= error.offset < start + len(parts[fine])


def test_a_frame_past_the_limit_fails_before_it_is_there():
    for fmt, start in (("protobuf", (1001).to_bytes(4, "big")), ("msgpack", b"\x82\xa3ids\xdc\x03\xe9")):
        body = decoder(fmt, max_frame_bytes=1000)
        with pytest.raises(FrameTooLargeError) as caught:
            body.feed(start)
        assert caught.value.limit == 1000


def test_a_limit_counts_each_frame_and_not_the_body():
    data = MORE * 1000 + DONE
    assert read("msgpack", data, max_frame_bytes=len(MORE))[1] is None
    found, error = read("msgpack", data, max_frame_bytes=len(MORE) - 1)
    assert (found, type(error)) == ([], FrameTooLargeError)


def same_however_cut(fmt, data, cut):
    whole, pieces = read(fmt, data), read(fmt, data, cut)
    assert whole[0] == pieces[0]
    assert repr(whole[1]) == repr(pieces[1])
    assert getattr(whole[1], "offset", None) == getattr(pieces[1], "offset", None)


@settings(max_examples=cases(300))
@given(st.sampled_from(FORMATS), st.binary(max_size=60), st.integers(1, 7))
def test_random_bytes_never_raise_anything_else(fmt, data, cut):
    same_however_cut(fmt, data, cut)


@settings(max_examples=cases(500))
@given(st.sampled_from(FORMATS), st.data(), st.integers(1, 60))
def test_mutated_streams_never_raise_anything_else(fmt, data, cut):
    body = data.draw(mutated(streams.map(lambda batches: written(fmt, batches)[0])))
    same_however_cut(fmt, body, cut)


@settings(max_examples=cases(300))
@given(st.data(), st.integers(1, 60), st.booleans())
def test_mutated_streams_of_other_writers_never_raise_anything_else(data, cut, behind_lengths):
    drawn = data.draw(st.lists(flat_frames(), max_size=4))
    pieces = [*(pack(fields) for fields, _ in drawn), DONE]
    body = data.draw(mutated(st.just(prefixed(*pieces) if behind_lengths else b"".join(pieces))))
    same_however_cut("msgpack", body, cut)


# Cost


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.slow
def test_a_large_frame_byte_by_byte_takes_little(fmt):
    data = encoder(fmt).encode(range(40_000), done=True)
    with within():
        read(fmt, data, 1)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.slow
def test_a_large_frame_in_chunks_takes_little(fmt):
    data = encoder(fmt).encode([2**20 + 7] * 500_000, done=True)
    with within():
        read(fmt, data, 16_384)


# Encoders


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("bad", [-1, 2**32, 1.0, True, "1", None])
def test_only_ids_are_written(fmt, bad):
    with pytest.raises(FrameEncodeError):
        encoder(fmt).encode([1, bad])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("reason", [5, b"stop", True, "\ud800"])
def test_only_text_is_written_as_a_reason(fmt, reason):
    with pytest.raises(FrameEncodeError):
        encoder(fmt).encode([1], done=True, finish_reason=reason)


@pytest.mark.parametrize("fmt", FORMATS)
def test_nothing_is_written_after_done(fmt):
    out = encoder(fmt)
    out.encode([1], done=True)
    with pytest.raises(FrameEncodeError):
        out.encode([2])


def test_plain_frames_have_the_form_of_the_protocol():
    assert encoder("msgpack").encode([1, 300]) == b"\x82\xa3ids\x92\x01\xcd\x01\x2c\xa4done\xc2"
    assert encoder("protobuf").encode([1, 300], done=True) == b"\0\0\0\x07\x0a\x03\x01\xac\x02\x10\x01"
    assert msgspec.msgpack.decode(encoder("msgpack-delta").encode([3, 1])) == {
        "base_id": 0,
        "ids_delta": [6, 3],
        "done": False,
    }


# Formats, content types, requests, streams


@pytest.mark.parametrize("call", [decoder, encoder])
def test_an_unknown_format_is_refused(call):
    with pytest.raises(UnsupportedFormatError, match="msgpack-delta"):
        call("cbor")


@pytest.mark.parametrize(
    ("content_type", "fmt"),
    [
        *[(content_type, fmt.partition("-")[0]) for fmt, content_type in CONTENT_TYPES.items()],
        ("application/codec+msgpack", "msgpack"),
        ("Application/X-Codec-Msgpack; charset=x", "msgpack"),
        ("application/codec+protobuf", "protobuf"),
    ],
)
def test_content_types_in_the_field_are_understood(content_type, fmt):
    assert format_of_content_type(content_type) == fmt


@pytest.mark.parametrize("content_type", ["", "application/json", "text/event-stream", "msgpack"])
def test_other_content_types_are_refused(content_type):
    with pytest.raises(UnsupportedFormatError):
        format_of_content_type(content_type)


requests = st.builds(
    CodecRequest,
    prompt_ids=st.lists(ids).map(tuple),
    max_tokens=st.integers(0, MAX_ID),
    temperature=st.floats(0, 2, width=32),
    stop=st.lists(st.text(st.characters(exclude_categories=["Cs"]))).map(tuple),
    stream_format=st.sampled_from(("", *FORMATS)),
)


@given(requests, st.sampled_from(["msgpack", "protobuf"]))
def test_requests_go_both_ways(request_, fmt):
    assert decode_request(encode_request(request_, fmt), fmt) == request_


@given(st.binary(max_size=80), st.sampled_from(["msgpack", "protobuf"]))
def test_random_requests_are_typed_errors(data, fmt):
    with contextlib.suppress(FrameError):
        decode_request(data, fmt)


@pytest.mark.parametrize(
    ("data", "fmt"),
    [
        (b"\x82\xa1x" + b"\x91" * 100_000, "msgpack"),
        (pack({"prompt_ids": [-1]}), "msgpack"),
        (pack({"prompt_ids": [1.5]}), "msgpack"),
        (b"\x0a\x05\xff\xff\xff\xff\x1f", "protobuf"),
        (b"\x18\x01", "protobuf"),
        (b"\x3b" * 100_000, "protobuf"),
    ],
)
def test_malformed_requests_are_typed_errors(data, fmt):
    with pytest.raises(FrameError):
        decode_request(data, fmt)


def test_requests_have_limits_and_types():
    with pytest.raises(FrameTooLargeError):
        decode_request(bytes(11), max_request_bytes=10)
    with pytest.raises(FrameEncodeError):
        encode_request(CodecRequest(prompt_ids=(-1,)))
    with pytest.raises(FrameEncodeError):
        encode_request(CodecRequest(prompt_ids=(1,), temperature=1e300), "protobuf")
    for fmt in ("msgpack", "protobuf"):
        with pytest.raises(FrameEncodeError):
            encode_request(CodecRequest(prompt_ids=(1,), stop=("\ud800",)), fmt)
    with pytest.raises(UnsupportedFormatError):
        encode_request(CodecRequest(prompt_ids=()), "msgpack-delta")


class Body:
    """A body in chunks that remembers whether it was read to its end."""

    def __init__(self, *chunks):
        self.chunks = chunks
        self.finished = False

    async def __aiter__(self):
        for chunk in self.chunks:
            yield chunk
        self.finished = True


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fmt", "call"),
    [
        ("msgpack", decode_stream),
        ("msgpack", decode_msgpack_stream),
        ("protobuf", decode_protobuf_stream),
        ("protobuf-delta", lambda body: decode_stream(body, "protobuf-delta")),
    ],
)
async def test_streams_are_read_to_their_end(fmt, call):
    data, frames = written(fmt, [(1, 2), (3,)])
    body = Body(data[:5], data[5:], b"")
    assert [frame async for frame in call(body)] == frames
    assert body.finished


async def collect(stream, frames):
    async for frame in stream:
        frames.append(frame)


@pytest.mark.asyncio
async def test_a_stream_gives_out_its_frames_before_its_error():
    for tail, error in ((b"\xc1", MalformedFrameError), (b"", TruncatedStreamError)):
        frames = []
        with pytest.raises(error):
            await collect(decode_stream(Body(MORE + MORE + tail)), frames)
        assert len(frames) == 2


@pytest.mark.asyncio
async def test_an_error_does_not_wait_for_the_next_chunk():
    async def stalling():
        yield MORE + b"\xc1"
        raise AssertionError("asked for more after the error")

    with pytest.raises(MalformedFrameError):
        await collect(decode_stream(stalling()), [])
