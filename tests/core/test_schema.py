"""The schema that servers publish is the one that frames and requests are written in."""

import re

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from codec_core.frames import (
    SCHEMA,
    CodecFrame,
    CodecRequest,
    decode_protobuf_frame,
    encode_request,
    encoder,
)
from codec_core.frames.protobuf_wire import write_bytes, write_number, write_varint
from codec_core.frames.schema import packed_ids_class

Field = descriptor_pb2.FieldDescriptorProto
FIELD = re.compile(r"(repeated |optional )?(\w+) (\w+) = (\d+)")
IDS = [0, 127, 128, 70_000, 2**32 - 1]


def read_schema(text):
    """Return the message classes of a schema, by name; it understands as much as there is to understand."""
    file = descriptor_pb2.FileDescriptorProto(name="published.proto", package="published", syntax="proto3")
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", text, re.DOTALL):
        message = file.message_type.add(name=name)
        for label, kind, field, number in FIELD.findall(body):
            added = message.field.add(name=field, number=int(number))
            added.type = Field.Type.Value(f"TYPE_{kind.upper()}")
            added.label = Field.LABEL_REPEATED if label == "repeated " else Field.LABEL_OPTIONAL
            if label == "optional ":
                added.proto3_optional = True
                added.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    found = {name: pool.FindMessageTypeByName(f"published.{name}") for name in names}
    return {name: message_factory.GetMessageClass(message) for name, message in found.items()}


@pytest.fixture(scope="module")
def messages():
    return read_schema(SCHEMA)


def test_frames_are_messages_of_the_published_schema(messages):
    frame = messages["CodecFrame"].FromString(encoder("protobuf").encode(IDS, True, "stop")[4:])
    assert (list(frame.ids), frame.done, frame.finish_reason) == (IDS, True, "stop")
    assert not frame.HasField("base_id")


def test_delta_frames_are_messages_of_the_published_schema(messages):
    out = encoder("protobuf-delta")
    first, second = (messages["CodecFrame"].FromString(out.encode(ids)[4:]) for ids in ([5, 7], [6]))
    assert (list(first.ids), first.base_id) == ([10, 4], 0)
    assert (list(second.ids), second.base_id) == ([1], 7)
    assert first.HasField("base_id")


def test_requests_are_messages_of_the_published_schema(messages):
    asked = CodecRequest(
        prompt_ids=tuple(IDS), max_tokens=9, temperature=0.5, stop=("a", "b"), stream_format="protobuf"
    )
    request = messages["CodecRequest"].FromString(encode_request(asked, "protobuf"))
    assert list(request.prompt_ids) == IDS
    assert (request.max_tokens, request.temperature, request.stream_format) == (9, 0.5, "protobuf")
    assert list(request.stop) == ["a", "b"]


ids = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
unknown = st.sampled_from(
    (b"\x30\x05", b"\x22\x03abc", b"\x32\x03abc", b"\x3d1234", b"\x3912345678", b"\x3b\x08\x01\x3c")
)


@st.composite
def fields_of_frames(draw):
    """Draw fields in any order: ids packed in several runs, ids unpacked, unknown fields between."""
    runs = st.lists(ids, max_size=9).map(lambda run: write_bytes(1, b"".join(map(write_varint, run))))
    single = ids.map(lambda number: write_number(1, number))
    done = st.integers(0, 3).map(lambda number: write_number(2, number))
    reason = st.text("aé", max_size=9).map(lambda text: write_bytes(3, text.encode()))
    return b"".join(draw(st.lists(st.one_of(runs, single, done, reason, unknown), max_size=8)))


@given(data=fields_of_frames())
def test_messages_of_other_writers_are_read_as_the_runtime_reads_them(messages, data):
    reference = messages["CodecFrame"].FromString(data)
    reason = reference.finish_reason if reference.HasField("finish_reason") else None
    assert decode_protobuf_frame(data) == CodecFrame(tuple(reference.ids), reference.done, reason)


@pytest.mark.parametrize(("message", "field"), [("CodecFrame", "ids"), ("CodecRequest", "prompt_ids")])
def test_packed_ids_are_the_first_field_of_both_messages(messages, message, field):
    published = messages[message].DESCRIPTOR.fields_by_name[field]
    own = packed_ids_class().DESCRIPTOR.fields_by_name["ids"]
    assert (own.number, own.type, own.is_packed) == (published.number, published.type, published.is_packed)
    written = messages[message](**{field: IDS}).SerializeToString()
    assert list(packed_ids_class().FromString(written).ids) == IDS
