"""Frames and regions against their peers: `python -m tests.benchmarks wire`.

`python -m tests.benchmarks.wire protobuf watcher` measures the rows whose names hold one of the words.

The existing client, msgpack's Unpacker and protobuf's runtime run in an interpreter of their own
(`peers.py`). Like is compared with like: the async calls of the existing client with the same calls here,
and the libraries that take whole bytes with the decoder.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec

from codec_core.frames import (
    CodecFrame,
    decode_msgpack_stream,
    decode_protobuf_stream,
    decoder,
    encoder,
)
from codec_core.regions import RegionKind, RegionScanner, ToolWatcher
from tests.benchmarks.peers import Interpreter, peer_python
from tests.benchmarks.rows import Row, report, timed

FRAMES = 2000
"""Frames in one measured run, so that starting a stream does not count."""

CHUNK = 16 * 1024
"""Bytes of a chunk that holds many frames."""

TINY = (
    ("msgpack frames of one id", "msgpack", b"\x82\xa3ids\x91\x05\xa4done\xc2"),
    ("msgpack frames in another order", "msgpack", b"\x82\xa4done\xc2\xa3ids\x91\x05"),
    ("msgpack frames with an unknown key", "msgpack", b"\x83\xa3ids\x91\x05\xa4done\xc2\xa1x\x01"),
    ("msgpack frames with a nested value", "msgpack", b"\x83\xa3ids\x91\x05\xa4done\xc2\xa1x\x91\x01"),
    ("msgpack delta frames", "msgpack", encoder("msgpack-delta").encode([5])),
    ("protobuf frames of one id", "protobuf", encoder("protobuf").encode([5])),
    ("protobuf frames of one unpacked id", "protobuf", b"\0\0\0\x02\x08\x05"),
    ("protobuf delta frames", "protobuf", encoder("protobuf-delta").encode([5])),
    ("a protobuf frame of unpacked ids", "protobuf", b"\0\0\x27\x10" + b"\x08\x05" * 5000),
    ("a protobuf frame of unknown fields", "protobuf", b"\0\0\x27\x10" + b"\x28\x05" * 5000),
)
"""Frames whose readers work hardest for each byte, by what they are."""


class Peers:
    """The peers in their own interpreter, if there is one."""

    def __init__(self) -> None:
        python = peer_python()
        self._contestants = 0
        self._peer = Interpreter(python, "wire_peer.py") if python else None

    def contestant(self, name: str, units: int, **request: Any) -> dict[str, Callable[[], float]]:
        """Return a contestant by the peer's name; none where there is no interpreter."""
        peer = self._peer
        if peer is None:
            return {}
        self._contestants += 1
        request["name"] = str(self._contestants)
        for key, value in request.items():
            if key == "chunks":
                request[key] = [base64.b64encode(chunk).decode() for chunk in value]
        line = json.dumps(request)
        return {name: lambda: float(peer.ask_line(line)) / units}

    def close(self) -> None:
        """End the interpreter."""
        if self._peer:
            self._peer.close()


def stream(fmt: str, size: int, frames: int = FRAMES) -> list[bytes]:
    """Return the frames of a stream, `size` ids each."""
    random, out = Random(1), encoder(fmt)
    batches = [[int(150_000 * random.random() ** 2) for _ in range(size)] for _ in range(frames - 1)]
    return [*(out.encode(batch) for batch in batches), out.encode((), done=True)]


def feed_all(fmt: str, chunks: Sequence[bytes]) -> Callable[[], None]:
    """Return the decoding of a stream, chunk by chunk."""

    def run() -> None:
        body = decoder(fmt)
        for chunk in chunks:
            body.feed(chunk)
        body.close()

    return run


def bare_decoding(chunks: Sequence[bytes]) -> Callable[[], None]:
    """Return msgspec's decoding of the same frames with the same checks, and nothing around it.

    It takes any number of ids; of frames of one size, `msgpack_counted` makes it take that number, and less.
    """
    decode = msgspec.msgpack.Decoder(CodecFrame).decode

    def run() -> None:
        for chunk in chunks:
            decode(chunk)

    return run


def drain_all(fmt: str, chunks: Sequence[bytes]) -> Callable[[], object]:
    """Return the decoding of a stream by the call that the existing client has as well."""
    decode = {"msgpack": decode_msgpack_stream, "protobuf": decode_protobuf_stream}[fmt]

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def drain() -> object:
        return [frame async for frame in decode(body())]

    return lambda: asyncio.run(drain())


def pass_all(chunks: Sequence[bytes]) -> Callable[[], object]:
    """Return what an async call of that form costs without any decoding: the floor of `drain_all`."""

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def through() -> AsyncIterator[bytes]:
        async for chunk in body():
            for each in (chunk,):
                yield each

    async def drain() -> object:
        return [each async for each in through()]

    return lambda: asyncio.run(drain())


def frame_rows(peers: Peers) -> Iterator[Row]:
    """Yield the rows about frames."""
    for fmt, size, bar in (("msgpack", 1, 8.0), ("msgpack", 64, 20.0), ("protobuf", 64, 6.0)):
        chunks = stream(fmt, size)
        other = {"msgpack": ("Unpacker", "unpacker"), "protobuf": ("upb", "upb")}[fmt]
        against = peers.contestant(other[0], FRAMES, action=other[1], chunks=chunks)
        if fmt == "msgpack":
            against["msgspec alone"] = timed(bare_decoding(chunks), FRAMES)
        name = f"{fmt} frame, {size} id(s), chunk = frame"
        yield Row(f"{name}, decoder", timed(feed_all(fmt, chunks), FRAMES), against)
        against = peers.contestant("codecai", FRAMES, action="codecai", kind=fmt, chunks=chunks)
        against["two generators that do nothing"] = timed(pass_all(chunks), FRAMES)
        yield Row(
            f"{name}, decode_{fmt}_stream", timed(drain_all(fmt, chunks), FRAMES), against, {"codecai": bar}
        )
    yield byte_row(peers)
    yield from many_rows(peers)
    yield from tiny_rows()


def byte_row(peers: Peers) -> Row:
    """Return the row about frames that come byte by byte."""
    frames = 100
    chunks = [bytes([byte]) for byte in b"".join(stream("msgpack", 64, frames))]
    against = peers.contestant("codecai", frames, action="codecai", kind="msgpack", chunks=chunks)
    ours = timed(drain_all("msgpack", chunks), frames)
    return Row("msgpack frame, 64 ids, byte by byte", ours, against, {"codecai": 10.0})


def many_rows(peers: Peers) -> Iterator[Row]:
    """Yield the rows about chunks that hold many frames: of a server or a bridge faster than its reader."""
    for fmt in ("msgpack", "protobuf"):
        body = b"".join(stream(fmt, 8))
        chunks = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
        against = peers.contestant("codecai", FRAMES, action="codecai", kind=fmt, chunks=chunks)
        yield Row(f"{fmt} frame, 8 ids, in chunks of 16 KiB", timed(drain_all(fmt, chunks), FRAMES), against)


def tiny_rows() -> Iterator[Row]:
    """Yield the rows about the dearest well-formed streams: of frames that are nearly nothing."""
    for name, fmt, frame in TINY:
        chunk = frame * (CHUNK // len(frame))
        chunks = [chunk] * (2**20 // CHUNK)
        run = timed(feed_all(fmt, [*chunks, encoder(fmt).encode((), done=True)]), len(chunk) * len(chunks))
        yield Row(f"a byte of {name}, {len(frame)} bytes each", run, limit=1e-6)


def region_rows(peers: Peers) -> list[Row]:
    """Return the rows about regions."""
    random = Random(1)
    ids = tuple(random.randrange(150_000) for _ in range(64))
    units = FRAMES * len(ids)
    pair: Any = SimpleNamespace(id="bench/map", special_tokens={"<t>": 150_001, "</t>": 150_002})
    kinds = [RegionKind(f"kind{n}", ((150_001 + 2 * n,),), ((150_002 + 2 * n,),)) for n in range(4)]

    def repeat(feed: Callable[[tuple[int, ...]], object], ids: tuple[int, ...]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(FRAMES):
                feed(ids)

        return run

    watch = ToolWatcher(pair, "<t>", "</t>").feed
    marked = (*ids[:20], 150_001, *ids[21:40], 150_002, *ids[41:])
    with_pair = peers.contestant("codecai", units, action="watcher", ids=marked, repeats=FRAMES)
    without = peers.contestant("codecai", units, action="watcher", ids=ids, repeats=FRAMES)
    scan = timed(repeat(RegionScanner(kinds).feed, ids), units)
    return [
        Row(
            "region watcher, an id, 64 ids a feed, a region in each",
            timed(repeat(watch, marked), units),
            with_pair,
            {"codecai": 4.0},
        ),
        Row("region watcher, an id, 64 ids a feed, no marker", timed(repeat(watch, ids), units), without),
        Row("region scanner of 4 kinds, an id, 64 ids a feed", scan, without, limit=15e-9),
    ]


def main(words: Sequence[str] = ()) -> bool:
    """Measure and print all rows, or those that hold one of the words; tell whether every bar is reached."""
    peers = Peers()
    try:
        rows = chain(frame_rows(peers), region_rows(peers))
        asked = (row for row in rows if not words or any(word in row.name for word in words))
        outcomes = [report(row) for row in asked]
        return all(outcomes)
    finally:
        peers.close()


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
