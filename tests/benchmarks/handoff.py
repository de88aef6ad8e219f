"""The handoff between two models: from A's last id to B's request, and to B's first id.

    python -m tests.benchmarks handoff [--only unpaced | paced | prefill]

Both models are scripted and stand behind real HTTP in another process. Beside the ids: the same pipeline with
translation left to the end, and the text path, the `openai` client on both sides and B's server encoding the
text again. `gap` is from A's last id (or text) to B's request: for the ids until its body is written, for the
text until the client begins to write it. `first` is to B's first id or text. The contestants
take turns, every answer is another text, and the best round of each counts: other work on the machine, the
server's above all, only ever adds. Compare rows, never two runs.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from codec_agents import Chat, Pipeline
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.scripted.engine import ScriptedModel
from codec_agents.engines.scripted.script import Raw, Say
from codec_agents.runtime.edges import handoff
from codec_agents.runtime.edges.transducers import Transducer
from codec_agents.vocabularies import bundled_map
from codec_core.maps import TokenizerMap, read_map
from codec_core.tokenizer import pick_tokenizer
from tests.conftest import maps_directory
from tests.natural import code, prose

IDS = (256, 1024, 4096)
PACE = 2000.0
"""Ids a second where the models are paced: the longest answer takes two seconds."""
ROUNDS, PACED_ROUNDS = 9, 4
OVERLAP_BAR = 5.0
"""So many times longer the gap has to be when translation starts at the end, at the most ids."""
PREFILL_ROUNDS = 3
PREFILL_IDS, PREFILL_SECONDS, PREFILL_BAR = 2000, 0.2e-3, 5.0
"""The prompt of the prefill row, what an id of it costs B, and how much sooner B's first id has to come."""

REAL, BUNDLED = ("qwen/qwen2", "huggingfacetb/smollm2"), ("demo/bytes", "demo/words")


class Gap(NamedTuple):
    """One handoff, in seconds."""

    gap: float
    first: float
    tail: float = 0.0
    """Of the gap, the translating."""


Contestant = Callable[[], Awaitable[Gap]]
Engines = Mapping[str, CodecEngine]


def maps() -> tuple[str, str]:
    """The two maps: real ones where they are there."""
    there = all((maps_directory() / f"{name}.json").is_file() for name in REAL)
    return REAL if there else BUNDLED


def load(name: str) -> TokenizerMap:
    return bundled_map(name) if name in BUNDLED else read_map(maps_directory() / f"{name}.json")


# --- the server, in a process of its own ---


def answers(source: TokenizerMap) -> Callable[[Any], Any]:
    """A script that says as many ids as the user asks for, of a text that begins where the user says."""
    ids = pick_tokenizer(source).encode_ordinary(prose() + code())

    def script(prompt: Any) -> Any:
        length, number = map(int, prompt.user.split())
        start = number * max(IDS) % (len(ids) - max(IDS))
        return [Raw(ids[start : start + length])]

    return script


def serve() -> None:
    """Serve A and B in both vocabularies until killed."""
    from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app

    backend = ScriptedBackend()
    for name in maps():
        source = load(name)
        backend.add(f"a {name}", source, answers(source), ids_a_frame=1)
        backend.add(f"paced a {name}", source, answers(source), ids_a_frame=2, ids_a_second=PACE)
        backend.add(f"slow a {name}", source, answers(source), ids_a_frame=2, ids_a_second=PREFILL_IDS / 2.0)
        for model in ("b", "paced b"):
            backend.add(f"{model} {name}", source, lambda _: [Say("read")])
        slow = ScriptedModel(
            script=lambda _: [Say("read")], seconds_a_prompt_id=PREFILL_SECONDS, prefix_cache=True
        )
        for number in range(2 * PREFILL_ROUNDS):
            backend.add(f"slow b{number} {name}", source, slow)  # each has a cache of its own

    async def main() -> None:
        async with EmbeddedServer(create_app(backend)) as server:
            print(server.url, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())


def stay_on(processor: int) -> None:
    """Keep this process on one of two processors: the client and the server stand for two machines."""
    if hasattr(os, "sched_setaffinity") and len(mine := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(0, {mine[processor]})


@contextmanager
def server() -> Iterator[str]:
    """Serve in another process until left, and keep this one from its processor."""
    imports = "from tests.benchmarks.handoff import serve, stay_on"
    command = [sys.executable, "-c", f"{imports}; stay_on(-1); serve()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        stay_on(0)
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


# --- the two paths ---

_numbers = count()


def asked(ids: int) -> str:
    """What A is told: each answer is another text, since no model says the same twice."""
    return f"{ids} {next(_numbers)}"


def pipeline(
    engines: Engines, pace: str, of_a: str, of_b: str, number: int | str = "", **edge: Any
) -> Pipeline:
    p = Pipeline("handoff").input("asked").sink("out", text=False)
    for of in {of_a, of_b}:
        p.tokenizer_map(of, load(of))
    for name, of, prompt in (("a", of_a, Chat(user="{asked}")), ("b", of_b, "Read.\n{draft}")):
        p.model(
            name,
            engine=engines[name],
            map=of,
            model=f"{pace}{name}{number if name == 'b' else ''} {of}",
            dialect="qwen2.5" if name == "a" and of in REAL else None,
            prompt=prompt,
            sampling={"max_tokens": 2 * max(IDS)},
        )
    return p.connect("asked", "a.asked").connect("a", "b.draft", **edge).connect("b", "out")


def with_ids(engines: Engines, pace: str, ids: int, of_a: str, of_b: str, **edge: Any) -> Contestant:
    built = pipeline(engines, pace, of_a, of_b, **edge)

    async def hand_off() -> Gap:
        report = (await built.invoke({"asked": asked(ids)})).handoffs[-1]
        assert report.gap is not None
        assert report.first_id_latency is not None
        return Gap(report.gap, report.first_id_latency, report.tail_seconds)

    return hand_off


class AtTheEnd:
    """Keeps everything until the source has ended."""

    def __init__(self, edge: Any) -> None:
        self._inner: Transducer = TRANSLATE(edge)
        self._held: list[int] = []
        self.dropped = self.replaced = 0

    def feed(self, batch: list[int], /) -> list[int]:
        self._held += batch
        return []

    def flush(self) -> list[int]:
        done = [*self._inner.feed(self._held), *self._inner.flush()]
        self.dropped, self.replaced = self._inner.dropped, self._inner.replaced
        return done


TRANSLATE = handoff.TRANSDUCERS["translate"]


@contextmanager
def translating_at_the_end() -> Iterator[None]:
    """Let all edges keep what comes until their source has ended."""
    table: dict[str, Any] = handoff.TRANSDUCERS  # type: ignore[assignment]
    table["translate"] = AtTheEnd
    try:
        yield
    finally:
        table["translate"] = TRANSLATE


def at_the_end(hand_off: Contestant) -> Contestant:
    async def run() -> Gap:
        with translating_at_the_end():
            return await hand_off()

    return run


def with_text(client: Any, written: list[float], pace: str, ids: int, of_a: str, of_b: str) -> Contestant:
    async def read(model: str, text: str, marks: list[float]) -> str:
        parts = []
        messages = [{"role": "user", "content": text}]
        stream = await client.chat.completions.create(
            model=model, messages=messages, stream=True, max_tokens=2 * max(IDS)
        )
        async for part in stream:
            if said := part.choices[0].delta.content:
                marks.append(time.perf_counter())
                parts.append(said)
        return "".join(parts)

    async def hand_off() -> Gap:
        first: list[float] = []
        second: list[float] = []
        text = await read(f"{pace}a {of_a}", asked(ids), first)
        await read(f"{pace}b {of_b}", f"Read.\n{text}", second)
        return Gap(written[-1] - first[-1], second[0] - first[-1])

    return hand_off


async def best_of(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Gap]:
    """Let the contestants take turns; the first round warms up."""
    found: dict[str, list[Gap]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, hand_off in contestants.items():
            gap = await hand_off()
            if number:
                found[name].append(gap)
    return {name: Gap(*(min(column) for column in zip(*gaps, strict=True))) for name, gaps in found.items()}


# --- what is printed ---


PACES = {"unpaced": "", "paced": "paced "}
"""What a part of this benchmark is called, and what its models are called."""


def paces(only: str) -> list[str]:
    """Return the paces to be measured: one, or all."""
    return [pace for name, pace in PACES.items() if only in ("", name)]


async def measure(url: str, engines: Engines, only: str) -> bool:
    import httpx2
    import openai

    written: list[float] = []

    async def about_to_write(_: httpx2.Request) -> None:
        written.append(time.perf_counter())

    reached = True
    async with httpx2.AsyncClient(event_hooks={"request": [about_to_write]}, timeout=60) as http:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=http)
        here, there = maps()
        for pace in paces(only):
            print(f"\n{'paced, ' + format(PACE, ',.0f') + ' ids/s' if pace else 'unpaced, an id a frame'}")
            heads = f"{'gap ms':>10}{'first ms':>10}{'tail ms':>10}{'gap, text / ids':>18}"
            print(f"{'':36}{'ids':>7}{heads}", flush=True)
            for of_b, word in ((here, "same vocabulary"), (there, "another vocabulary")):
                for ids_of_a in IDS:
                    ids = with_ids(engines, pace, ids_of_a, here, of_b)
                    text = with_text(client, written, pace, ids_of_a, here, of_b)
                    rows = {"ids": ids, "text, openai client": text}
                    if of_b != here:
                        rows["ids, translated at the end"] = at_the_end(ids)
                    found = await best_of(rows, ROUNDS if not pace else PACED_ROUNDS)
                    reached &= _print(found, word, ids_of_a)
    return (await _prefill(engines) and reached) if only in ("", "prefill") else reached


def _print(found: Mapping[str, Gap], word: str, ids: int) -> bool:
    ratio = found["text, openai client"].gap / found["ids"].gap
    for name, gap in found.items():
        more = f"{ratio:>17.1f}x" if name == "ids" else ""
        print(f"{word + ': ' if name == 'ids' else '  '}{name}".ljust(36), end="")
        figures = "".join(f"{seconds * 1000:>10.2f}" for seconds in gap)
        print(f"{ids:>7,}{figures}{more}", flush=True)
    if ids != max(IDS) or "ids, translated at the end" not in found:
        return True
    times = found["ids, translated at the end"].gap / found["ids"].gap
    return _verdict("translation overlaps the decoding", times, OVERLAP_BAR)


async def _prefill(engines: Engines) -> bool:
    here, _ = maps()
    asked = f"{PREFILL_IDS:,} prompt ids at {PREFILL_SECONDS * 1000:g} ms each"
    print(f"\nprefill ahead: {asked}, A decodes for 2 s")
    models, latencies = count(), {}
    edges: dict[str, dict[str, Any]] = {"without": {}, "ahead": {"prefill": "ahead"}}
    for name, edge in edges.items():
        samples = []
        for _ in range(PREFILL_ROUNDS):
            hand_off = with_ids(engines, "slow ", PREFILL_IDS, here, here, number=next(models), **edge)
            samples.append(await hand_off())
        latencies[name] = statistics.median(sample.first for sample in samples)
        print(f"{name:36}{PREFILL_IDS:>7,}{'':>10}{latencies[name] * 1000:>10.2f}", flush=True)
    return _verdict("B's first id comes sooner", latencies["without"] / latencies["ahead"], PREFILL_BAR)


async def _measured(url: str, only: str) -> bool:
    engines = {name: CodecEngine(url, name=name) for name in "ab"}
    try:
        return await measure(url, engines, only)
    finally:
        for engine in engines.values():
            await engine.aclose()


def _verdict(what: str, times: float, bar: float) -> bool:
    print(f"{what}: {times:.1f}x  [{'reached' if times >= bar else 'MISSED'}: {bar:g}x]", flush=True)
    return times >= bar


def main(only: str = "") -> bool:
    """Print the tables, or one of them; return whether the bars were reached."""
    print(f"maps: {' and '.join(maps())}")
    with server() as url:
        return asyncio.run(_measured(url, only))
