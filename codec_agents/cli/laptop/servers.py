"""Start a server for each model: that of llama.cpp, or the `transformers` back end in this process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from codec_agents.cli.laptop.models import RealModel
from codec_agents.exceptions import CodecAgentsError
from codec_agents.graph.sources import EngineKind

PROGRAM = "llama-server"

CONTEXT = 2048
"""Ids of one prompt with its answer; the chain's have some hundred."""
SLOTS = 2
"""Prompts that a server holds: that of the answer, and the one that is read ahead for the next."""
READY_WITHIN = 120.0
"""Seconds until a server must have read its weights."""
ENDED_WITHIN = 10.0
"""Seconds that a server has to end by itself."""
POLL = 0.1
"""Seconds between two questions: little beside the seconds for which a server reads its weights."""

EXTRA = ("torch", "transformers", "accelerate", "gguf", "uvicorn")
INSTALL = 'pip install "codec-agents[transformers]"'

Served = tuple[EngineKind, str]
"""The kind of an engine, and its URL."""


class NoServerError(CodecAgentsError):
    """No server can run the models."""


def find_program(given: Path | None, cached: Path) -> Path | None:
    """Return the program `llama-server`: the one that is given, cached, or on the path.

    Raises:
        NoServerError: the given file is no program.
    """
    if given is not None:
        if not os.access(given, os.X_OK) or given.is_dir():
            raise NoServerError(f"{given} is no program; name the file {PROGRAM} itself")
        # A bare name would be looked up on the PATH when the program is started.
        return given.absolute()
    if os.access(cached, os.X_OK):
        return cached
    found = shutil.which(PROGRAM)
    return Path(found) if found else None


def lacking() -> list[str]:
    """Return the packages that the `transformers` back end needs and that are not installed."""
    return [name for name in EXTRA if find_spec(name) is None]


@contextmanager
def servers(program: Path | None, files: Mapping[RealModel, Path]) -> Iterator[dict[str, Served]]:
    """Serve each model while the context is open; yield the engines by the model's name.

    Raises:
        NoServerError: a server does not start.
    """
    with ExitStack() as stack:
        serve = _llama_cpp if program is not None else _transformers
        yield {model.name: stack.enter_context(serve(program, model, file)) for model, file in files.items()}


@contextmanager
def _llama_cpp(program: Path | None, model: RealModel, file: Path) -> Iterator[Served]:
    port = _free_port()
    # The server divides its context among the slots.
    command = [
        str(program), "--model", str(file), "--host", "127.0.0.1", "--port", str(port), "--alias", model.name,
        "--ctx-size", str(CONTEXT * SLOTS), "--parallel", str(SLOTS), "--no-webui",
        # The second server reads ahead while the first one writes: with all cores each, both would wait.
        "--threads", str(max(1, (os.cpu_count() or 2) // 2)),
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - the user's own program
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_ready(url, process, log)
            yield "llamacpp", url
        finally:
            process.terminate()
            try:
                process.wait(ENDED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    import httpx

    until = time.monotonic() + READY_WITHIN
    # The server is on loopback: the environment's proxy must not be asked for it.
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < until:
            if process.poll() is not None:
                raise NoServerError(f"{PROGRAM} ended with exit code {process.returncode}: {_last_line(log)}")
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return
            except httpx.TransportError:  # it does not listen yet
                pass
            time.sleep(POLL)
    raise NoServerError(f"{PROGRAM} was not ready after {READY_WITHIN:g} s: {_last_line(log)}")


def _last_line(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def _transformers(program: Path | None, model: RealModel, file: Path) -> Iterator[Served]:  # noqa: ARG001
    from codec_agents.cli.laptop.maps import map_of_model
    from codec_agents.server import EmbeddedServer, create_app
    from codec_agents.server.backends.transformers import TransformersBackend

    backend: Any = TransformersBackend(file, map_of_model(model, file), model.name, streams=SLOTS)
    with EmbeddedServer(create_app(backend)) as server:
        yield "codec", server.url
