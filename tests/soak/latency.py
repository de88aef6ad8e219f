"""How long a polite client waits while others attack: the time of `/health` under every attack."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import time

from tests.soak.attacks import ATTACKS, TIMEOUT
from tests.soak.served import Served

EVERY = 0.01
"""Seconds between two requests of the polite client."""


def attack(name: str, port: int, seconds: float) -> subprocess.Popen[bytes]:
    """Start an attack in a process of its own: its work must not slow the client that measures."""
    return subprocess.Popen([sys.executable, "-m", "tests.soak.attacks", name, str(port), str(seconds)])


def ping(port: int, seconds: float) -> list[float]:
    """Return the milliseconds of requests to `/health`, each on a new connection, one after another."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            connection.request("GET", "/health")
            ok = connection.getresponse().read() == b'{"status":"ok"}'
        except OSError:
            ok = False
        finally:
            connection.close()
        took.append((time.perf_counter() - begun) * 1000 if ok else float("inf"))
        time.sleep(EVERY)
    return took


def measure(seconds: float, target: float) -> bool:
    """Print the times under every attack; return True if every 99th percentile is within the target."""
    print(f"{'/health under':<32}{'median':>9}{'p99':>9}{'worst':>9}   ms; held")
    within = True
    for name in ("no attack", *ATTACKS):
        with Served() as served:
            before = served.megabytes, served.descriptors
            attacker = attack(name, served.port, seconds) if name in ATTACKS else None
            time.sleep(0.3 if attacker else 0)
            took = sorted(ping(served.port, seconds))
            if attacker is not None:
                attacker.wait(seconds + 2 * TIMEOUT)
            p99 = took[min(int(len(took) * 0.99), len(took) - 1)]
            within = within and p99 <= target
            held = f"{before[0]:.0f} -> {served.megabytes:.0f} MB, {before[1]} -> {served.descriptors} fds"
            mark = "" if p99 <= target else f"  above {target:g} ms"
            print(
                f"{name:<32}{statistics.median(took):9.1f}{p99:9.1f}{took[-1]:9.1f}   {held}{mark}",
                flush=True,
            )
    return within
