"""The text path between two real engines, by the official `openai` client, in an interpreter of its own.

usage: handoff_peer.py; every line it gets is a request as JSON, answered by one line. Imports nothing from
here. Instants are of this process's clock; only their differences leave it. `own` is the client's part: from
the last text of one answer until the next request is written.
"""

import asyncio
import json
import sys
import time

import httpx2
import openai


class Client:
    """Clients of all servers, and when each request was about to be written."""

    def __init__(self):
        self.written = []
        self.http = httpx2.AsyncClient(event_hooks={"request": [self._about_to_write]}, timeout=600)
        self.clients = {}

    async def _about_to_write(self, _):
        self.written.append(time.perf_counter())

    async def read(self, asked, messages):
        """Return the text of an answer and the instants: request written, first text, last text, end."""
        url = asked["url"]
        if url not in self.clients:
            self.clients[url] = openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key="none", http_client=self.http
            )
        fields = {"model": asked["model"], "temperature": 0.0, "max_tokens": asked["ids"], "stream": True}
        said, marks = [], []
        stream = await self.clients[url].chat.completions.create(
            messages=messages, extra_body=asked["extra"], **fields
        )
        sent = self.written[-1]
        async for part in stream:
            delta = part.choices[0].delta if part.choices else None
            # Servers with a parser of reasoning may take an answer for it.
            if delta and (text := delta.content or getattr(delta, "reasoning", None)):
                marks.append(time.perf_counter())
                said.append(text)
        return "".join(said), sent, marks[0], marks[-1], time.perf_counter()


def chat(system, user):
    """Return the messages of a prompt."""
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


async def handoff(client, a, b, task, readers):
    """Let A write and each reader read it, all at once; the last of their first texts counts."""
    text, _, _, last, _ = await client.read(a, chat(a["system"], task))
    before = len(client.written)
    prompts = [chat(b["system"], reader.replace("{draft}", text)) for reader in readers]
    found = await asyncio.gather(*(client.read(b, prompt) for prompt in prompts))
    sent = max(client.written[before:])
    return {"own": sent - last, "first": max(first for _, _, first, _, _ in found) - last, "text": text}


async def loop(client, a, task, turns, result):
    """Ask for turns, each with the answer and a result of the one before; return each gap."""
    messages = chat(a["system"], task)
    found, last = [], None
    for _ in range(turns):
        text, sent, first, ended, _ = await client.read(a, messages)
        if last is not None:
            found.append((sent - last, first - last))
        last = ended
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": result}]
    return {"own": [own for own, _ in found], "first": [first for _, first in found]}


MEASURES = {"handoff": handoff, "loop": loop}


async def main():
    """Answer requests until stdin is closed."""
    client = Client()
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        cpu = time.process_time()
        try:
            answer = await MEASURES[request.pop("measure")](client, **request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({**answer, "cpu": time.process_time() - cpu}), flush=True)
    await client.http.aclose()


if __name__ == "__main__":
    asyncio.run(main())
