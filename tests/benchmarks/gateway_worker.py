"""The processes of the gateway's benchmark: an engine that only writes, a byte relay, and the gateway.

    python -m tests.benchmarks.gateway_worker upstream | relay URL | gateway URL

Each prints its port, and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from urllib.parse import urlsplit

TOKEN, IDS = 700, 512
CHUNKS_A_TURN = 8
"""A turn of the event loop costs as much as a chunk: one after each would be what is measured."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(document: object) -> bytes:
    event = b"data: " + json.dumps(document).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


@functools.cache
def answer(chat: bool) -> list[bytes]:
    """One id, or one word, a chunk, as vLLM writes them."""
    base = {"id": "cmpl-0123456789abcdef", "created": 1762000000, "model": "m"}
    open_choice = {"index": 0, "logprobs": None, "finish_reason": None}
    # litellm breaks a stream off whose chunks are all the same.
    words = [" word", " term"]
    if chat:
        base["object"] = "chat.completion.chunk"
        choices = [{**open_choice, "delta": {"content": word}} for word in words]
        last = {**open_choice, "delta": {}, "finish_reason": "stop"}
    else:
        base["object"] = "text_completion"
        choices = [{**open_choice, "text": word, "token_ids": [TOKEN]} for word in words]
        last = {**open_choice, "text": "", "token_ids": [], "finish_reason": "stop"}
    pieces = [chunk({**base, "choices": [choice]}) for choice in choices] * (IDS // 2)
    return [*pieces, chunk({**base, "choices": [last]}), b"e\r\ndata: [DONE]\n\n\r\n", b"0\r\n\r\n"]


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            await reader.readexactly(length)
            writer.write(HEAD)
            for number, piece in enumerate(answer(b"/chat/" in head.split(b"\r\n")[0])):
                writer.write(piece)
                if number % CHUNKS_A_TURN == 0:
                    await writer.drain()
                    await asyncio.sleep(0)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def relay_all(url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    place = urlsplit(url)
    there, back = await asyncio.open_connection(place.hostname, place.port)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()

    await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)


async def listen(handle: object) -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)  # type: ignore[arg-type]
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def gateway(url: str) -> None:
    from codec_agents.engines.vllm import VllmEngine
    from codec_agents.server import Gateway, serve
    from codec_agents.server.hosting.serving import bind
    from codec_core.maps import read_map
    from tests.conftest import maps_directory

    source = read_map(str(maps_directory() / "qwen/qwen3.json"))
    engine = VllmEngine(url, api="completions", handshake=False)
    sockets = bind("127.0.0.1", 0)
    print(sockets[0].getsockname()[1], flush=True)
    serve(Gateway(engine, source, "m"), "127.0.0.1", 0, sockets=sockets)


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "gateway":
        gateway(rest[0])
    else:
        asyncio.run(listen(answer_all if kind == "upstream" else functools.partial(relay_all, rest[0])))
