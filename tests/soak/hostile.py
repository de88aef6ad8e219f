"""All attacks at once, for as long as wished, beside clients that expect right answers."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request

from tests.soak.attacks import ATTACKS, TIMEOUT
from tests.soak.held import Held
from tests.soak.latency import attack
from tests.soak.served import Served

CLIENTS = 4
SETTLED_WITHIN = 90.0
"""Seconds after the last attack in which the server has closed what it left open: the longest of the server's
own limits, `stalled_after`, is 60, and a busy machine reaches it late."""


CONNECTIONS, IN_USE = 2_000, 512.0
"""What the attacks hold open at once, and megabytes: the budget of bodies and what is read from them."""


class Polite:
    """A client that knows the right answer to each of its questions."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/completions"
        self.right = self.wrong = self.busy = 0

    def ask(self, number: int) -> None:
        """Ask one question."""
        text = f"question {number}"
        body = json.dumps({"prompt": text, "max_tokens": 200}).encode()
        asked = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:
                said = json.load(answer)["choices"][0]["text"]
        except OSError:  # refused for the time being, or a connection that made room
            self.busy += 1
        else:
            self.right += said == f"You said {text}."
            self.wrong += said != f"You said {text}."


def soak(seconds: float) -> bool:
    """Attack for a while; return True if no answer was wrong, and the server holds what it held before."""
    with Served() as served:
        polite = Polite(served.port)
        polite.ask(0)
        before = served.megabytes, served.descriptors, served.threads
        held = Held("server", served.pid, connections=CONNECTIONS, in_use=IN_USE)
        begun = time.monotonic()
        end = begun + seconds

        def work(first: int) -> None:
            number = first
            while time.monotonic() < end:
                polite.ask(number)
                number += CLIENTS

        threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        attackers = [attack(name, served.port, seconds) for name in ATTACKS]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            held.sample((time.monotonic() - begun) / seconds)
            time.sleep(min(1.0, seconds / 50))
        for thread in threads:
            thread.join()
        for attacker in attackers:
            attacker.wait(seconds + 2 * TIMEOUT)
        ended = time.monotonic()
        while (left := served.open_requests) and time.monotonic() < ended + SETTLED_WITHIN:
            time.sleep(1.0)
        settled = time.monotonic() - ended
        polite.ask(1)
        after = served.megabytes, served.descriptors, served.threads
        total = served.metrics()["codec_server_requests_total"]
        log = served.log
    print(f"{len(attackers)} attacks at once for {seconds:g} s, {total} requests:")
    print(f"  {polite.right} right answers, {polite.wrong} wrong, {polite.busy} refused for the time being,")
    print(f"  memory {before[0]:.0f} -> {after[0]:.0f} MB, file descriptors {before[1]} -> {after[1]},")
    print(f"  threads {before[2]} -> {after[2]}, open requests {left} after {settled:.0f} s,")
    print(f"  log {len(log)} bytes, {log.count('Traceback')} tracebacks", flush=True)
    grown = not held.is_flat()
    flat = not grown and after[1] <= before[1] + 4 and after[2] <= before[2] + 4 and "Traceback" not in log
    return polite.wrong == 0 and polite.right > 0 and left == 0 and flat
