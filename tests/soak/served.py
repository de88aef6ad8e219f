"""A server of the command line, as a process of its own, and what it holds."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
PIPELINE = HERE / "pipeline.yaml"
SCRIPT = ("--script", "models:answer", "--map", "demo/words", "--ids-a-frame", "64")
STARTED_WITHIN = 30.0
ENDED_WITHIN = 40.0


class Served:
    """`codec-agents serve`, on a free port of 127.0.0.1; it ends with the `with` block."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments or SCRIPT

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile(prefix="soak-", suffix=".log")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "codec_agents.cli", "serve", "--port", "0", *self._arguments],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=self._log,
            stderr=self._log,
        )
        self.port = self._wait_for_port()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_for_port(self) -> int:
        end = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < end and self._process.poll() is None:
            for line in self.log.splitlines():
                if "running on" in line:
                    return int(line.rsplit(":", 1)[1].split()[0])
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start: {self.log[-1000:]}")

    @property
    def log(self) -> str:
        """What the server has logged."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def megabytes(self) -> float:
        """The resident memory of the process."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    @property
    def descriptors(self) -> int:
        """The number of open file descriptors."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """The number of threads."""
        return len(list(Path(f"/proc/{self._process.pid}/task").iterdir()))

    def metrics(self) -> dict[str, int]:
        """Return the server's own counts."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines if not line.startswith("#")}

    @property
    def open_requests(self) -> int:
        """The requests that are open, without the one that asks for them."""
        return self.metrics()["codec_server_open_requests"] - 1

    def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body of a document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
