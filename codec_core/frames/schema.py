"""The protobuf schema, as the text that `GET /codec/schema` serves and the class that reads packed ids.

The class is made from a descriptor built here, not by a generated module: there is nothing to keep fresh, and
nothing to load until the first protobuf frame. A test holds the text and the descriptor together.
"""

from __future__ import annotations

from functools import cache
from typing import Any

SCHEMA = """\
syntax = "proto3";

package codec;

message CodecFrame {
  repeated uint32 ids = 1 [packed = true];
  bool done = 2;
  optional string finish_reason = 3;
  optional int32 base_id = 4;
  optional bytes values = 15;
}

message CodecRequest {
  repeated uint32 prompt_ids = 1 [packed = true];
  uint32 max_tokens = 2;
  float temperature = 3;
  repeated string stop = 4;
  string stream_format = 5;
}
"""


@cache
def packed_ids_class() -> Any:
    """Return a message class that has field 1 of both messages, the packed ids, and nothing else."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="codec_ids.proto", package="codec", syntax="proto3")
    message = file.message_type.add(name="PackedIds")
    message.field.add(name="ids", number=1, type=kinds.TYPE_UINT32, label=kinds.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("codec.PackedIds"))
