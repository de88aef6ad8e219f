"""Servers of tests start, answer, and end with all their processes; one that does not start says why."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from tests.real_engines import servers
from tests.real_engines.models import kept
from tests.real_engines.servers import DidNotStartError, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

SERVING = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("worker", worker.pid, flush=True)
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEC_REAL_ENGINES", str(tmp_path))


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    """Wait for the end of a process that was told to end: a signal is not yet an end."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_ends_with_its_workers(end: str) -> None:
    server = Server("fake", lambda port: [sys.executable, "-c", SERVING, str(port)], seconds=30)
    with server:
        worker = int(server.log.read_text().split()[1])
        assert is_running(worker)
        assert is_running(server.pid)
        getattr(server, end)()
    assert ends(worker)


def test_a_server_that_ends_at_once_shows_the_end_of_its_log() -> None:
    program = "import sys; print('no such model'); sys.exit(3)"
    server = Server("fake", lambda port: [sys.executable, "-c", program])
    with pytest.raises(DidNotStartError, match=r"(?s)ended with 3.*no such model"):
        server.__enter__()


def test_a_server_that_never_answers_is_ended() -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    server = Server("fake", lambda port: [sys.executable, "-c", program], seconds=1.0)
    with pytest.raises(DidNotStartError, match="not ready after 1 s"):
        server.__enter__()
    assert ends(int(server.log.read_text()))


def test_what_is_kept_is_whole(tmp_path: Path) -> None:
    """A file that was not finished is none."""

    def broken(part: Path) -> None:
        part.write_text("half")
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        kept("file", broken)
    assert not (tmp_path / "models" / "file").exists()
    assert kept("file", lambda part: part.write_text("whole") and None).read_text() == "whole"


def test_a_server_gets_a_port_that_the_system_gives_to_no_other_process() -> None:
    """One that takes minutes to start would find another server on it, which answers in its place."""
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert {servers.free_port() < int(first) for _ in range(5)} == {True}
