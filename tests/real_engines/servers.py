"""Start a real server on a free port of this machine, wait until it answers, and stop it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.real_engines.places import cache_folder

TO_STOP = 20.0
"""Seconds that a server has to end by itself."""

LAST_LINES = 25

KEEP_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""vLLM's processes import some 3,000 modules each; compiled by one, they are there for the next."""

Command = Callable[[int], Sequence[str | Path]]


class DidNotStartError(Exception):
    """A server ended, or did not answer in time; the message has the last lines of its log."""


@dataclass
class Server:
    """One server, as a context manager: it runs inside.

    Attributes:
        name: its log's.
        command: how it is started on a port.
        environment: added to this process's.
        ready: the path that answers 200 when it can be used.
        seconds: how long it may take until then.
    """

    name: str
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/health"
    seconds: float = 420.0
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _deadline: float = 0.0

    @property
    def url(self) -> str:
        """The origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process, which leads a group of its own."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it prints."""
        return cache_folder() / "logs" / f"{self.name}-{self.port}.log"

    def __enter__(self) -> Self:
        self.start(self.port)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self, port: int) -> None:
        """Start it and wait until it answers.

        Raises:
            DidNotStartError: it does not.
        """
        self.launch(port)
        self.wait_until_ready()

    def launch(self, port: int = 0) -> None:
        """Start it, on a free port if none is given, and wait for nothing."""
        self.port = port or self.port or free_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*map(str, self.command(self.port))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **KEEP_BYTECODE, **self.environment},
                start_new_session=True,  # its workers end with it
            )
        self._deadline = time.monotonic() + self.seconds

    def wait_until_ready(self) -> None:
        """Wait until it answers.

        Raises:
            DidNotStartError: it ends before, or takes too long.
        """
        assert self._process is not None
        while not self._answers():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > self._deadline:
                self.stop()
                why = f"ended with {ended}" if ended is not None else f"not ready after {self.seconds:.0f} s"
                raise DidNotStartError(f"{self.name}: {why}; the end of {self.log}:\n{self.last_lines()}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End it and its workers."""
        if self._process is not None:
            end_group(self._process.pid, self._process.wait)
            self._process = None

    def kill(self) -> None:
        """End it at once, in the middle of what it does."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def last_lines(self) -> str:
        """Return the end of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{self.ready}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused, or a status that says "not yet"
            return False


PORTS = range(12000, 32000)
"""Below those that a system gives out by itself: a server may take minutes until it listens, and meanwhile
another process would be given its port, and would answer in its place."""


def free_port() -> int:
    """Return a port of the loopback interface that is free now.

    Raises:
        OSError: none is.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"no port of {PORTS.start} to {PORTS.stop} is free")


def end_group(leader: int, wait: Callable[[float], object]) -> None:
    """End a group of processes: politely, and by force what is left of it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            wait(TO_STOP)
