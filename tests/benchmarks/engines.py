"""What reading streams costs: transports beside the existing client, a handoff beside text clients, load.

    python -m tests.benchmarks engines
    python -m tests.benchmarks.engines [--streams 100 1000] [--repeat 5] [--paced 1000] [--seconds 120]

A server in another process writes prepared chunks, one id each, as fast as the socket takes them; what is
measured is the client. `gap` is the time from A's last id (or character) to B's first. The clients take
turns, and the best of each column counts: other work on the machine, the server's above all, only ever adds.
Compare rows of one run, never figures of two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from codec_agents.engines.base import GenerationRequest, SamplingOptions, Timeouts
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of
from tests.benchmarks.engines_server import IDS_A_SECOND, PACED_FROM, PACED_IDS
from tests.benchmarks.peers import Interpreter, peer_python

IDS = 1024
"""In each answer of a handoff."""
BURST = 8
"""Chunks a write where many streams are read at once: else the writer is what is measured."""
CLIENTS = ("httpx", "httpx2", "httpx-aiohttp", "aiohttp")
"""What carries the bytes for this SDK: two clients that it makes itself, and two of a caller's own."""
BARS = {100: 5.0, 1000: 4.0}
"""How many times the existing client's ids a second the default transport reaches, at so many streams."""
FLAT = 8 * 2**20
"""Bytes that the client may grow by, from the first quarter of the paced load to its end."""


@contextmanager
def serving() -> Iterator[str]:
    """Run the server; give its origin."""
    command = [sys.executable, "-m", "tests.benchmarks.engines_server"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.terminate()


def request(prompt: list[int]) -> GenerationRequest:
    return GenerationRequest(
        prompt_ids=prompt,
        vocabulary=vocabulary_of(bundled_map("demo/words")),
        options=SamplingOptions(max_tokens=100_000),
        timeouts=Timeouts(connect=30.0),
    )


# --- one handoff: A's answer becomes B's prompt; (seconds in all, gap) ---

Handoff = Callable[[], Awaitable[tuple[float, float]]]


def with_codec(engine: CodecEngine) -> Handoff:
    """As a pipeline hands on: with A's first ids, B's engine is told of the request that will come."""

    async def hand_off() -> tuple[float, float]:
        started = time.perf_counter()
        ids: list[int] = []
        preparing = None
        async with engine.stream(request([5])) as first:
            async for frame in first:
                preparing = preparing or asyncio.create_task(engine.prepare(request([5])))
                ids += frame.ids
        async with engine.stream(request(ids)) as second:
            async for _ in second:
                pass
        if preparing is not None:
            await preparing
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


async def measure_handoffs(origin: str, repeat: int) -> bool:
    """Print the handoff table; the first round of each warms up."""
    print(f"\n{'handoff A to B':34}{'wall ms':>10}{'gap ms':>10}{'CPU ms':>10}")
    url = f"{origin}/{IDS}/1"
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
    best = {
        name: [min(column) * 1000 for column in zip(*samples, strict=True)]
        for name, samples in results.items()
    }
    for name, values in best.items():
        print(f"{name:34}" + "".join(f"{value:10.1f}" for value in values))
    openai, sse, _, ours = best.values()
    return all(
        [
            bar("gap, openai client / this SDK", openai[1] / ours[1], 3.5),
            bar("wall, openai client / this SDK", openai[0] / ours[0], 6.0),
            bar("wall, httpx and SSE / this SDK", sse[0] / ours[0], 1.8),
        ]
    )


def bar(what: str, ratio: float, wanted: float) -> bool:
    """Print a ratio beside what it should be."""
    print(f"  {what}: {ratio:.1f}x, bar {wanted:.1f}x{'' if ratio >= wanted else '  MISSED'}")
    return ratio >= wanted


Round = tuple[float, float]
"""Wall and CPU seconds of reading all streams once."""


async def measure_streams(origin: str, streams: int, repeat: int) -> bool:
    """Print ids a second and CPU an id, for so many streams at once; the clients take turns."""
    ids = max(256, 102_400 // streams)
    url = f"{origin}/{ids}/{BURST}"
    ours = {name: Reader(name, url, streams, ids) for name in CLIENTS}
    python = peer_python()
    peer = None if python is None else Interpreter(python, "engines_peer.py", url, str(streams), str(ids))
    rounds: dict[str, list[Round]] = {name: [] for name in (*CLIENTS, "codecai")}
    for _ in range(repeat):
        for name, reader in ours.items():
            rounds[name].append(await reader.round())
        if peer is not None:
            rounds["codecai"].append(tuple(peer.ask()))
    for reader in ours.values():
        await reader.aclose()
    if peer is None:
        return True
    peer.close()
    best = {name: row(name, streams, ids, taken) for name, taken in rounds.items()}
    ratio = best["aiohttp"] / best["codecai"]
    what = f"ids/s, this SDK on aiohttp / codecai, {streams} streams"
    return bar(what, ratio, BARS.get(streams, 0.0))


class Reader:
    """One client of ours, and the streams that it reads."""

    def __init__(self, name: str, url: str, streams: int, ids: int) -> None:
        self._client = given_client(name, streams + 10)
        settings = HttpSettings(transport="auto" if self._client is not None else name)
        self._engine = CodecEngine(url, client=self._client, settings=settings)
        self._streams = streams
        self._ids = ids

    async def round(self) -> Round:
        """Read all streams at once."""
        wall, cpu = time.perf_counter(), time.process_time()
        counts = await asyncio.gather(*(self._read() for _ in range(self._streams)))
        assert counts == [self._ids] * self._streams
        return time.perf_counter() - wall, time.process_time() - cpu

    async def _read(self) -> int:
        count = 0
        async with self._engine.stream(request([5])) as stream:
            async for frame in stream:
                count += len(frame.ids)
        return count

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.aclose()
        if self._client is not None:
            await self._client.aclose()


def given_client(name: str, connections: int) -> Any:
    """Return a client of the caller's own; None where the engine makes its client itself."""
    if name == "httpx2":
        import httpx2

        return httpx2.AsyncClient(limits=httpx2.Limits(max_connections=connections), timeout=60)
    if name == "httpx-aiohttp":
        import httpx_aiohttp

        limits = httpx.Limits(max_connections=connections)
        return httpx_aiohttp.HttpxAiohttpClient(limits=limits, timeout=60)
    return None


def row(name: str, streams: int, ids: int, rounds: list[Round]) -> float:
    """Print the best round of a client; return its ids a second."""
    wall, cpu = (min(column) for column in zip(*rounds, strict=True))
    total = streams * ids
    print(f"{name:14}{streams:>8}{total / wall:>14,.0f}{cpu / total * 1e6:>14.2f}")
    return total / wall


async def measure_paced(origin: str, streams: int, seconds: float) -> bool:
    """Hold so many streams of 20 ids a second; nothing may be lost or change places, memory stays flat."""
    ids = int(seconds * IDS_A_SECOND)
    wanted = [PACED_FROM + number % PACED_IDS for number in range(ids)]
    engine = CodecEngine(f"{origin}/paced/{ids}")
    asked = request([5])
    wrong = 0

    async def read() -> None:
        nonlocal wrong
        received = 0
        async with engine.stream(asked) as stream:
            async for frame in stream:
                wrong += list(frame.ids) != wanted[received : received + len(frame.ids)]
                received += len(frame.ids)
        wrong += received != ids

    memory: list[int] = []

    async def watch() -> None:
        while True:
            await asyncio.sleep(seconds / 20)
            memory.append(resident())

    wall, cpu = time.perf_counter(), time.process_time()
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(read() for _ in range(streams)))
    watching.cancel()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await engine.aclose()
    early, late = memory[len(memory) // 4], memory[-1]
    print(
        f"\npaced: {streams} streams at {IDS_A_SECOND} ids/s for {wall:.0f} s: {streams * ids:,} ids, "
        f"{wrong} lost or out of order, client CPU {cpu:.1f} s ({cpu / wall:.0%} of a core, "
        f"{cpu / (streams * ids) * 1e6:.1f} us/id), RSS {early / 2**20:.1f} MB after a quarter, "
        f"{late / 2**20:.1f} MB at the end"
    )
    return wrong == 0 and late - early < FLAT and wall < seconds * 1.1 + 5


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(arguments: argparse.Namespace) -> bool:
    with serving() as origin:
        outcomes = []
        if arguments.only in ("", "streams"):
            print(f"{'client':14}{'streams':>8}{'ids/s':>14}{'CPU us/id':>14}")
            outcomes += [
                await measure_streams(origin, count, arguments.repeat) for count in arguments.streams
            ]
        if arguments.only in ("", "handoff"):
            outcomes.append(await measure_handoffs(origin, 3 * arguments.repeat))
        if arguments.paced and arguments.only in ("", "paced"):
            outcomes.append(await measure_paced(origin, arguments.paced, arguments.seconds))
    return all(outcomes)


def main(given: list[str] | None = None, *, only: str = "") -> bool:
    """Run everything, or one part; return whether all bars were reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["", "streams", "handoff", "paced"], default=only)
    parser.add_argument("--streams", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--paced", type=int, default=1000, help="paced streams; 0 for none")
    parser.add_argument("--seconds", type=float, default=120)
    return asyncio.run(measure(parser.parse_args(given or [])))


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
