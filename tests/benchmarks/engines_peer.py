"""The existing client's streams, measured in an interpreter of its own. Imports nothing from here.

usage: engines_peer.py URL STREAMS IDS; every line it gets is answered by a round's [wall, cpu] as JSON.
"""

import asyncio
import json
import sys
import time

import codecai
import httpx


async def main(url, streams, ids):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:

        async def read():
            body = {"prompt": [5], "stream": True, "stream_format": "msgpack", "max_tokens": 100_000}
            count = 0
            async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
                async for frame in codecai.decode_stream(answer.aiter_raw(), "msgpack"):
                    count += len(frame.ids)
            return count

        while await asyncio.to_thread(sys.stdin.readline):
            wall, cpu = time.perf_counter(), time.process_time()
            counts = await asyncio.gather(*(read() for _ in range(streams)))
            assert counts == [ids] * streams
            print(json.dumps((time.perf_counter() - wall, time.process_time() - cpu)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
