"""The processor time of a streamed token: through a byte relay, the gateway, and litellm's proxy."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.benchmarks.gateway_worker import IDS

ROUNDS, AT_ONCE = 6, 8
LITELLM = "CODEC_LITELLM"
"""The variable that names the `litellm` command of an environment that has `litellm[proxy]`."""
OWN = Path(__file__).resolve().parents[2] / ".venv-litellm" / "bin" / "litellm"
BAR = 0.5
"""Of litellm's proxy's processor time for each token."""
TICK = os.sysconf("SC_CLK_TCK")


def litellm() -> str | None:
    """Return the command, if there is one."""
    named = os.environ.get(LITELLM) or str(OWN)
    return shutil.which(named)


@contextmanager
def worker(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run one of our processes; give its process id and its port."""
    command = [sys.executable, "-m", "tests.benchmarks.gateway_worker", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8")
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def litellm_proxy(command: str, upstream: str, port: int) -> Iterator[tuple[int, int]]:
    """Run litellm's proxy in front of the upstream."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        parameters = f"{{model: openai/m, api_base: '{upstream}/v1', api_key: none}}"
        config.write_text(f"model_list: [{{model_name: m, litellm_params: {parameters}}}]\n")
        process = subprocess.Popen(
            [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process.pid, port
        finally:
            process.kill()
            process.wait()


def seconds_of(pid: int) -> float:
    """Return the processor time of a process and its children that run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / TICK + sum(seconds_of(int(child)) for child in children)


async def ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        for _ in range(600):
            try:
                await client.get("/v1/models")
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
            else:
                return
    raise RuntimeError(f"nothing answers at {url}")


async def stream(client: httpx.AsyncClient, number: int) -> None:
    """Read one answer to its end."""
    messages = [{"role": "user", "content": f"{number}"}]
    body = {"model": "m", "stream": True, "max_tokens": 2 * IDS, "messages": messages}
    last = b""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for data in response.aiter_bytes():
            last = (last + data)[-64:]
    if b"[DONE]" not in last:
        raise RuntimeError(f"an answer has no end: {last!r}")


async def measured(url: str, pid: int) -> float:
    """Return the processor time of a process for each token."""
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        for number in range(3):  # warm
            await stream(client, -number)
        before = seconds_of(pid)
        for _ in range(ROUNDS):
            await asyncio.gather(*(stream(client, number) for number in range(AT_ONCE)))
        return (seconds_of(pid) - before) / (ROUNDS * AT_ONCE * IDS)


def run() -> bool:
    """Print the processor time of each; return whether the bar is kept, or cannot be known."""
    print(f"\nprocessor time for each streamed token, microseconds: {AT_ONCE} streams of {IDS} at once\n")
    found: dict[str, float] = {}
    with ExitStack() as processes:
        _, port = processes.enter_context(worker("upstream"))
        upstream = f"http://127.0.0.1:{port}"
        contestants: list[tuple[str, Sequence[str]]] = [
            ("byte relay", ("relay", upstream)),
            ("gateway", ("gateway", upstream)),
        ]
        for name, arguments in contestants:
            pid, port = processes.enter_context(worker(*arguments))
            url = f"http://127.0.0.1:{port}"
            found[name] = asyncio.run(_after_ready(url, pid, wait=name == "gateway"))
        if (command := litellm()) is not None:
            pid, port = processes.enter_context(litellm_proxy(command, upstream, _free_port()))
            found["litellm proxy"] = asyncio.run(_after_ready(f"http://127.0.0.1:{port}", pid, wait=True))
    for name, seconds in found.items():
        print(f"| {name} | {1e6 * seconds:.1f} |")
    if "litellm proxy" not in found:
        print(f"\nlitellm's proxy is not here: {LITELLM} names its command")
        return True
    share = found["gateway"] / found["litellm proxy"]
    print(f"\nbar: {BAR} of litellm's proxy: {share:.2f}, {'kept' if share <= BAR else 'MISSED'}")
    return share <= BAR


async def _after_ready(url: str, pid: int, *, wait: bool) -> float:
    if wait:
        await ready(url)
    return await measured(url, pid)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
