"""The peers of `wire.py`, measured in an interpreter of their own.

Run as a script by that interpreter; answers requests on stdin with seconds on stdout. Imports nothing from
here.
"""

import asyncio
import base64
import json
import sys
import time

import codecai
import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


async def drain(decode, chunks):
    async def body():
        for chunk in chunks:
            yield chunk

    return [frame async for frame in decode(body())]


def run_codecai(kind, chunks):
    decode = codecai.decode_protobuf_stream if kind == "protobuf" else codecai.decode_msgpack_stream
    return lambda: asyncio.run(drain(decode, chunks))


def run_unpacker(chunks):
    def run():
        unpacker = msgpack.Unpacker()
        frames = []
        for chunk in chunks:
            unpacker.feed(chunk)
            frames.extend(unpacker)
        return frames

    return run


def frame_class():
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="peer.proto", package="peer", syntax="proto3")
    message = file.message_type.add(name="Frame")
    message.field.add(name="ids", number=1, type=kinds.TYPE_UINT32, label=kinds.LABEL_REPEATED)
    message.field.add(name="done", number=2, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("peer.Frame"))


FRAME = frame_class()


def run_upb(chunks):
    def run():
        for chunk in chunks:
            message = FRAME.FromString(chunk[4:])
            (tuple(message.ids), message.done)

    return run


def run_watcher(ids, repeats):
    special = {"<t>": 150_001, "</t>": 150_002}
    one = codecai.TokenizerMap(id="a/b", version="2", vocab_size=1, vocab={"a": 0}, special_tokens=special)

    def run():
        watcher = codecai.ToolWatcher(one, "<t>", "</t>")
        for _ in range(repeats):
            watcher.feed(ids)

    return run


def task_of(request):
    action = request["action"]
    if action == "watcher":
        return run_watcher(tuple(request["ids"]), request["repeats"])
    chunks = [base64.b64decode(chunk) for chunk in request["chunks"]]
    if action == "unpacker":
        return run_unpacker(chunks)
    if action == "upb":
        return run_upb(chunks)
    return run_codecai(request["kind"], chunks)


def main():
    tasks = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["name"]
        if name not in tasks:
            tasks[name] = task_of(request)
            tasks[name]()
        started = time.process_time()
        tasks[name]()
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main()
