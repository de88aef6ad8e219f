"""The two paths of a handoff between real engines: ids in pipelines, and text by the `openai` client."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import venv
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from codec_agents import Chat, Pipeline
from codec_agents.events import GenerationFinished, GenerationStarted, IdsSampled
from codec_agents.exceptions import LimitExceededError, NodeFailedError
from tests.benchmarks.peers import Interpreter
from tests.real_engines.engines import MODEL
from tests.real_engines.lengths import length
from tests.real_engines.models import gemma_map, smollm2_map
from tests.real_engines.running import server_of, url_of

SYSTEM = "You write about travelling."
TASK = "Write about journey number {number}, by train, in many sentences."
READ = "Say what this is about:\n{draft}"
BRANCHES = tuple(f"{{draft}}\n\n{question}" for question in ("Who?", "Where?", "When?", "Why?"))
"""The prompts of a fan-out begin alike, with what they read."""

B_IDS = 4
TURNS = 5
RULES = "You travel by train, and you ask for the weather of each place before you go there. " * 30
"""The beginning of a tool loop: several blocks of an engine's cache."""

CALL = r'<tool_call>\n\{"name": "weather", "arguments": \{"city": "(Oslo|Rome|Bergen)"\}\}\n</tool_call>'
WEATHER = "17 degrees, a light wind from the west, and no rain before the evening."

MAPS: Mapping[str, Callable[[], Path]] = {"vllm": smollm2_map, "llamacpp": smollm2_map, "gemma": gemma_map}
KINDS = {"gemma": "llamacpp"}
"""The kind of a server whose name is not its kind's."""

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-peers" / "openai"
OPENAI = "openai==3.57.0"


class Figures(NamedTuple):
    """One handoff by one contestant; seconds, and counts."""

    own: float
    """From the source's last id, or text, until the next request is about to be written."""
    first: float
    """From the source's last id, or text, to the target's first."""
    gap: float | None = None
    """As `own`, until the body of the request is written."""
    cpu: float = 0.0
    """Processor seconds of the client."""
    engines: tuple[float | None, ...] = ()
    """Processor seconds of each engine."""
    received: float | None = None
    """Body bytes per id of the source's stream."""
    found: float | None = None
    """The part of what could be found in the target's cache that was."""
    said: Any = None


Contestant = Callable[[int], Awaitable[Figures]]


def kind_of(server: str) -> str:
    """Return the kind of a server."""
    return KINDS.get(server, server)


def engine_seconds(server: str) -> float | None:
    """Return the processor seconds that a server and its workers have taken; None for one that was given."""
    if os.environ.get(f"CODEC_TEST_{server.upper()}"):
        return None
    group, ticks = server_of(server).pid, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(servers: Sequence[str], contestant: Contestant) -> Contestant:
    """Return a contestant whose figures tell the engines' processor time as well."""

    async def run(number: int) -> Figures:
        before = [engine_seconds(server) for server in servers]
        figures = await contestant(number)
        after = [engine_seconds(server) for server in servers]
        spent = tuple(
            None if late is None or early is None else late - early
            for early, late in zip(before, after, strict=True)
        )
        return figures._replace(engines=spent)

    return run


# --- ids ---


class Ids:
    """Pipelines over real engines, as contestants."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The beginning of B's prompts: no contestant finds in the cache what another has left there."""

    def pipeline(
        self,
        a: str,
        b: str,
        ids: int,
        readers: Sequence[str] = (READ,),
        *,
        each: bool = False,
        **edge: Any,
    ) -> Pipeline:
        """Return a pipeline in which readers at `b` read what `a` wrote; `each` asks for an event per id."""
        p = Pipeline("real").input("task")
        writer = {"stream_interval": 1} if each else {}
        self._add(p, "writer", a, Chat(system=SYSTEM, user="{task}"), ids, **writer)
        p.connect("task", "writer")
        for number, reader in enumerate(readers):
            node = f"reader-{number}"
            self._add(p, node, b, Chat(system=f"{self.name}. {SYSTEM}", user=reader), B_IDS)
            p.sink(f"out-{number}", text=False)
            p.connect("writer", f"{node}.draft", **edge).connect(node, f"out-{number}")
        return p

    def _add(self, p: Pipeline, node: str, server: str, prompt: Chat, ids: int, **more: Any) -> None:
        kind = kind_of(server)
        if server not in p.spec.engines:
            p.engine(server, kind=kind, url=url_of(server))
        fixed = length(kind, ids)
        options = fixed if kind == "vllm" else {"extra": {"body": fixed}}
        p.model(
            node,
            engine=server,
            model=MODEL,
            map=str(MAPS[server]()),
            prompt=prompt,
            sampling={"temperature": 0.0, "max_tokens": ids, **options},
            **more,
        )

    def handoff(self, p: Pipeline) -> Contestant:
        """Return a contestant that runs such a pipeline."""

        async def run(number: int) -> Figures:
            cpu = time.process_time()
            result = await p.invoke({"task": TASK.format(number=number)})
            cpu = time.process_time() - cpu
            reports = [each for each in result.handoffs if each.source.startswith("writer")]
            # Of readers at once, those that wait until one of them has read what they share are in the queue.
            others = ("request", "engine", "queue") if len(reports) > 1 else ("request", "engine")
            own = max(sum(each.parts.values()) - sum(each.parts[part] for part in others) for each in reports)
            return Figures(
                own=own,
                gap=max(each.gap or 0.0 for each in reports),
                first=max(each.first_id_latency or 0.0 for each in reports),
                cpu=cpu,
                received=reports[0].bytes_per_id,
                found=_found_ahead(reports),
                said=list(result.histories["writer"].generated),
            )

        return run

    def loop(self, server: str) -> tuple[Pipeline, Contestant]:
        """Return a pipeline whose model calls a tool in each turn, and a contestant that runs it."""

        async def weather(city: str) -> str:
            """Return the weather of a city."""
            return WEATHER

        p = Pipeline("loop").input("task").sink("out", text=False)
        p.engine(server, kind=kind_of(server), url=url_of(server)).model(
            "bot",
            engine=server,
            model=MODEL,
            map=str(MAPS[server]()),
            prompt=Chat(system=f"{self.name}. {RULES}", user="{task}"),
            tools=[weather],
            sampling={"temperature": 0.0, "max_tokens": 60, "structured": {"regex": CALL}},
            policy={"limits": {"turns": TURNS}},
        )
        p.connect("task", "bot").connect("bot", "out")

        async def run(number: int) -> Figures:
            cpu = time.process_time()
            turns = await _turns(p, TASK.format(number=number))
            return _loop_figures(turns, time.process_time() - cpu)

        return p, run


def _found_ahead(reports: Sequence[Any]) -> float | None:
    """Return how much of what was sent ahead was found in the cache."""
    known = [each for each in reports if each.prefilled_ids and each.cached_ids is not None]
    return min((each.cached_ids / each.prefilled_ids for each in known), default=None)


class _Turn(NamedTuple):
    """Instants of one turn, and ids of its prompt."""

    asked: float
    first: float
    last: float
    kept: int
    cached: int | None


async def _turns(p: Pipeline, task: str) -> list[_Turn]:
    """Run a tool loop to the limit of its turns; return them."""
    turns: list[_Turn] = []
    started: GenerationStarted | None = None
    last = 0.0
    try:
        async with p.run({"task": task}) as run:
            async for event in run:
                if isinstance(event, GenerationStarted):
                    started = event
                elif isinstance(event, IdsSampled):
                    last = event.at
                elif isinstance(event, GenerationFinished):
                    assert started is not None
                    first = event.first_id_at or 0.0
                    turns.append(_Turn(started.at, first, last, started.kept_prefix, event.engine.cached_ids))
            await run.wait()
    except (LimitExceededError, NodeFailedError):  # every turn has to be a call
        pass
    assert len(turns) == TURNS, f"{len(turns)} turns"
    return turns


BLOCK = 128
"""Ids in a block of vLLM's cache on a CPU: only whole blocks are found."""


def _loop_figures(turns: Sequence[_Turn], cpu: float) -> Figures:
    pairs = list(pairwise(turns))
    # The last id of a turn was sampled and never read.
    kept = [(after.kept - 1) // BLOCK * BLOCK for _, after in pairs]
    cached = [after.cached for _, after in pairs]
    known = [(c, k) for c, k in zip(cached, kept, strict=True) if c is not None and k]
    return Figures(
        own=_mean([after.asked - before.last for before, after in pairs]),
        first=_mean([after.first - before.last for before, after in pairs]),
        cpu=cpu,
        found=min((c / k for c, k in known), default=None),
        said=sum(c for c, _ in known),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- text ---


def peer_python() -> Path:
    """Return an interpreter that has the `openai` client: `OPENAI_PYTHON`, or one made on demand."""
    given = os.environ.get("OPENAI_PYTHON")
    if given:
        return Path(given)
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"installing {OPENAI} into {ENVIRONMENT}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", OPENAI], check=True)
    return python


class Text:
    """The text path, as contestants. Its process waits while the others have their turn."""

    def __init__(self) -> None:
        self._interpreter = Interpreter(peer_python(), "handoff_peer.py")
        self.close = self._interpreter.close

    def _asked(self, server: str, system: str, ids: int, **extra: Any) -> dict[str, Any]:
        fields = {**length(kind_of(server), ids), **extra}
        return {"url": url_of(server), "model": MODEL, "system": system, "ids": ids, "extra": fields}

    async def _ask(self, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(self._interpreter.ask, **request)
        if "error" in answer:
            raise RuntimeError(f"the text path cannot be measured: {answer['error']}")
        return answer

    def handoff(self, name: str, a: str, b: str, ids: int, readers: Sequence[str] = (READ,)) -> Contestant:
        """Return a contestant that does what the pipeline does."""
        writes = self._asked(a, SYSTEM, ids)
        reads = self._asked(b, f"{name}. {SYSTEM}", B_IDS)

        async def run(number: int) -> Figures:
            task = TASK.format(number=number)
            answer = await self._ask(measure="handoff", a=writes, b=reads, task=task, readers=readers)
            return Figures(answer["own"], answer["first"], cpu=answer["cpu"], said=answer["text"])

        return run

    def loop(self, name: str, server: str) -> Contestant:
        """Return a contestant that does what the loop does."""
        asked = self._asked(server, f"{name}. {RULES}", 60, structured_outputs={"regex": CALL})
        del asked["extra"]["min_tokens"]  # the form decides on the length

        async def run(number: int) -> Figures:
            task = TASK.format(number=number)
            answer = await self._ask(measure="loop", a=asked, task=task, turns=TURNS, result=WEATHER)
            return Figures(_mean(answer["own"]), _mean(answer["first"]), cpu=answer["cpu"])

        return run
