"""A server that only writes: prepared answers, one id or word a chunk, unpaced or at a pace.

`/IDS/BURST/...` is answered with so many ids as fast as the socket takes them, BURST chunks a write; other
connections get their turn after every eighth chunk. `/paced/IDS/...` is answered with 20 ids a second, one a
write.
"""

import asyncio
import functools
import itertools
import json
import sys

from codec_core.frames import encoder

TOKEN = 700
PACED_FROM, PACED_IDS = 300, 1000
"""The ids of paced streams go round, so that a lost or a reordered one shows."""
IDS_A_SECOND = 20
GROUPS = 10
"""Paced streams are written in so many groups, one after the other."""

CHUNKS_A_TURN = 8
"""A turn costs as much as a chunk: one after each would be what is measured."""

CODEC = "application/x-msgpack"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    document = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1762000000,
        "model": "model",
        "choices": [choice],
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def head(kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


@functools.cache
def prepared(ids: int, text: bool) -> tuple[bytes, list[bytes]]:
    """The head and the chunks of an answer: one id or word a chunk, then the end."""
    frames = encoder("msgpack")
    if text:
        kind, end = "text/event-stream", [event({}, "stop"), b"data: [DONE]\n\n"]
        pieces = [event({"content": " word"})] * ids + end
    else:
        kind, pieces = CODEC, [frames.encode((TOKEN,))] * ids + [frames.encode((), True, "stop")]
    return head(kind), [chunk(piece) for piece in pieces] + [b"0\r\n\r\n"]


class Paced:
    """All paced streams, written by one task."""

    def __init__(self) -> None:
        frames = encoder("msgpack")
        self._pieces = [chunk(frames.encode((PACED_FROM + number,))) for number in range(PACED_IDS)]
        self._end = chunk(frames.encode((), True, "stop")) + b"0\r\n\r\n"
        self._groups: list[dict[asyncio.StreamWriter, tuple[int, int, asyncio.Event]]] = [
            {} for _ in range(GROUPS)
        ]
        self._next = itertools.cycle(self._groups)
        self.ticker: asyncio.Task[None] | None = None

    async def answer(self, writer: asyncio.StreamWriter, ids: int) -> None:
        if self.ticker is None:
            self.ticker = asyncio.create_task(self._tick())
        writer.write(head(CODEC))
        done = asyncio.Event()
        next(self._next)[writer] = (0, ids, done)
        await done.wait()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for group in itertools.cycle(self._groups):
            due += 1 / IDS_A_SECOND / GROUPS
            await asyncio.sleep(max(0.0, due - loop.time()))
            for writer, (number, ids, done) in list(group.items()):
                if number < ids:
                    writer.write(self._pieces[number % PACED_IDS])
                    group[writer] = (number + 1, ids, done)
                else:
                    writer.write(self._end)
                    del group[writer]
                    done.set()


async def read_body(reader: asyncio.StreamReader, head: str) -> None:
    """Read a request's body, whose length its head tells, or each of its chunks."""
    if "transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
        return
    length = head.partition("content-length:")[2].partition("\r")[0]
    await reader.readexactly(int(length or 0))


async def serve() -> None:
    """Answer until killed."""
    paced = Paced()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await read_body(reader, asked)
                path = asked.split()[1]
                if asked.startswith("get "):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    continue
                first, second = path.split("/")[1:3]
                if first == "paced":
                    await paced.answer(writer, int(second))
                    continue
                start, pieces = prepared(int(first), "chat" in path)
                writer.write(start)
                burst = int(second)
                for number in range(0, len(pieces), burst):
                    writer.write(b"".join(pieces[number : number + burst]))
                    if (number + burst) % CHUNKS_A_TURN == 0:
                        await asyncio.sleep(0)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(serve()))
