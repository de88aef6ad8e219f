"""What reading a stream costs: transports beside each other, and one handoff beside text clients.

    python tests/benchmarks/engines.py [--ids 1024] [--streams 1 100] [--repeat 7]

A server in another process writes prepared chunks, one id each, as fast as the socket takes them; what is
measured is the client. `gap` is the time from A's last id (or character) to B's first. Medians. On a machine
of few cores the server takes time from the client: compare rows of one run, never figures of two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.transport import HttpSettings
from codec_agents.vocabularies import bundled_map
from codec_core.frames import encoder
from codec_core.vocabulary import vocabulary_of

TOKEN = 700


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def bodies(ids: int) -> dict[str, tuple[str, list[bytes]]]:
    """The chunks of each path: one id or word a chunk, then the end."""
    frames = encoder("msgpack")
    codec = [frames.encode((TOKEN,)) for _ in range(ids)] + [frames.encode((), True, "stop")]

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

    text = [event({"content": " word"}) for _ in range(ids)] + [event({}, "stop"), b"data: [DONE]\n\n"]
    return {
        "/v1/completions": ("application/x-msgpack", codec),
        "/v1/chat/completions": ("text/event-stream", text),
    }


async def serve(ids: int) -> None:
    """Write prepared answers until killed."""
    prepared = {
        path: (
            f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode(),
            [chunk(piece) for piece in pieces] + [b"0\r\n\r\n"],
        )
        for path, (kind, pieces) in bodies(ids).items()
    }

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split()[1]
                length = next(
                    int(row[15:]) for row in head.lower().split("\r\n") if row.startswith("content-length:")
                )
                await reader.readexactly(length)
                start, pieces = prepared[path]
                writer.write(start)
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def request(prompt: list[int]) -> GenerationRequest:
    options = SamplingOptions(max_tokens=100_000)
    return GenerationRequest(
        prompt_ids=prompt, vocabulary=vocabulary_of(bundled_map("demo/words")), options=options
    )


# --- one handoff: A's answer becomes B's prompt; (seconds in all, gap) ---

Handoff = Callable[[], Awaitable[tuple[float, float]]]


def with_codec(engine: CodecEngine) -> Handoff:
    async def hand_off() -> tuple[float, float]:
        started = time.perf_counter()
        ids: list[int] = []
        async with engine.stream(request([5])) as first:
            async for frame in first:
                ids += frame.ids
        async with engine.stream(request(ids)) as second:
            async for _ in second:
                pass
        assert first.stats.last_id is not None
        assert second.stats.first_id is not None
        return time.perf_counter() - started, second.stats.first_id - first.stats.last_id

    return hand_off


def with_sse(client: httpx.AsyncClient, url: str) -> Handoff:
    async def read(text: str, marks: list[float]) -> str:
        parts = []
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    said = json.loads(line[6:])["choices"][0]["delta"].get("content")
                    if said:
                        marks.append(time.perf_counter())
                        parts.append(said)
        return "".join(parts)

    return _text_handoff(read)


def with_openai(url: str) -> Handoff:
    import openai

    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")

    async def read(text: str, marks: list[float]) -> str:
        parts = []
        messages = [{"role": "user", "content": text}]
        async for part in await client.chat.completions.create(model="m", messages=messages, stream=True):  # type: ignore[call-overload]
            if said := part.choices[0].delta.content:
                marks.append(time.perf_counter())
                parts.append(said)
        return "".join(parts)

    return _text_handoff(read)


def _text_handoff(read: Callable[[str, list[float]], Awaitable[str]]) -> Handoff:
    async def hand_off() -> tuple[float, float]:
        first: list[float] = []
        second: list[float] = []
        started = time.perf_counter()
        await read(await read("hello", first), second)
        return time.perf_counter() - started, second[0] - first[-1]

    return hand_off


async def measure_handoffs(url: str, repeat: int) -> None:
    """Print the handoff table; the first round of each warms up."""
    print(f"\n{'handoff A to B':34}{'wall ms':>10}{'gap ms':>10}{'CPU ms':>10}")
    engines = {
        transport: CodecEngine(url, settings=HttpSettings(transport=transport))
        for transport in ("httpx", "aiohttp")
    }
    async with httpx.AsyncClient(timeout=60) as client:
        rows: dict[str, Handoff] = {
            "text, openai client": with_openai(url),
            "text, httpx and an SSE parser": with_sse(client, url),
            "ids, this SDK on httpx": with_codec(engines["httpx"]),
            "ids, this SDK on aiohttp": with_codec(engines["aiohttp"]),
        }
        results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in rows}
        for round_number in range(repeat + 1):
            for name, hand_off in rows.items():
                cpu = time.process_time()
                wall, gap = await hand_off()
                if round_number:
                    results[name].append((wall, gap, time.process_time() - cpu))
    for engine in engines.values():
        await engine.aclose()
    for name, samples in results.items():
        medians = (statistics.median(column) * 1000 for column in zip(*samples, strict=True))
        print(f"{name:34}" + "".join(f"{value:10.1f}" for value in medians))


async def measure_transports(url: str, streams: int, ids: int, repeat: int) -> None:
    """Print ids a second and CPU an id, for so many streams at once."""
    import httpx2

    for name in ("httpx", "httpx2", "aiohttp"):
        limits = {"max_connections": streams + 10}
        client = httpx2.AsyncClient(limits=httpx2.Limits(**limits), timeout=60) if name == "httpx2" else None
        transport = "httpx" if name == "httpx2" else name
        engine = CodecEngine(url, client=client, settings=HttpSettings(transport=transport))

        async def read(engine: CodecEngine = engine) -> int:
            count = 0
            async with engine.stream(request([5])) as stream:
                async for frame in stream:
                    count += len(frame.ids)
            return count

        await read()
        samples = []
        for _ in range(repeat):
            wall, cpu = time.perf_counter(), time.process_time()
            counts = await asyncio.gather(*(read() for _ in range(streams)))
            assert counts == [ids] * streams
            samples.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = (statistics.median(column) for column in zip(*samples, strict=True))
        total = streams * ids
        print(f"{name:12}{streams:>8}{total / wall:>14,.0f}{cpu / total * 1e6:>14.2f}")
        await engine.aclose()


async def main(arguments: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--serve", "--ids", str(arguments.ids)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: ASYNC220 - set-up
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            print(f"{'transport':12}{'streams':>8}{'ids/s':>14}{'CPU us/id':>14}")
            for streams in arguments.streams:
                await measure_transports(url, streams, arguments.ids, max(1, arguments.repeat // 2))
            await measure_handoffs(url, arguments.repeat)
        finally:
            server.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, default=1024)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    asyncio.run(serve(given.ids) if given.serve else main(given))
