"""Work on durable runs in processes that die: `python -m tests.agents.scale.durable_worker FOLDER EVENTS`.

Each process is a fork of this one and is killed after so many events, an event being a line of a record or a
step of DBOS. The last one lives until the run waits or ends. Prints how many processes there were. PROCESSES
in the environment ends it after so many, and DATABASE names another database than a file in the folder.
"""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from dbos import DBOS

from codec_agents import Chat, Pipeline
from codec_agents.records import writer
from codec_agents.scale.durable import DurableWorker
from codec_agents.scale.durable_client import DurableRuns
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, ScriptedModel
from codec_agents.tools import tool
from codec_agents.tools.calls import ToolContext
from tests.agents.scale.batch_pipelines import noted

MOST_PROCESSES = 80
DATABASE = os.environ.get("DATABASE")


@tool
def look(number: int, context: ToolContext) -> int:
    """Look; note the effect, and die where the environment says so."""
    effects = Path(os.environ["EFFECTS"])
    noted(effects, context.call_key)
    if os.environ.get("DIE_IN_TOOL") and effects.read_text().count(context.call_key) == 1:
        os.kill(os.getpid(), 9)
    return number * 2


@tool(approval=True)
def pay(euro: int, context: ToolContext) -> str:
    """Pay; note the effect."""
    noted(os.environ["EFFECTS"], context.call_key)
    return f"paid {euro}"


def script(prompt: PromptView) -> Any:
    """Look, pay, and say what came of it."""
    if prompt.turn == 1:
        yield Call("look", number=4)
    elif prompt.turn == 2:
        yield Call("pay", euro=3)
    else:
        yield Say(f"so: {prompt.results[-1]}")


def make() -> Pipeline:
    """Declare the pipeline."""
    p = Pipeline("desk").input("question").sink("reader")
    p.engine("A", ScriptedEngine(ScriptedModel(script=script, ids_a_frame=16)))
    p.model("m", engine="A", model="m", map="demo/bytes", tools=[look, pay], prompt=Chat(user="{question}"))
    return p.connect("question", "m.question").connect("m.answer", "reader")


def dying_after(events: int) -> None:
    """Kill this process after so many new lines and new steps; what is only repeated does not count."""
    left = [events]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), 9)

    write_line, run_step = writer.write_line, DBOS.run_step_async

    def counted_line(descriptor: int, line: bytes, *, flush: bool) -> None:
        write_line(descriptor, line, flush=flush)
        if b'"kind":"continued"' not in line:
            count()

    async def counted_step(options: Any, function: Any) -> Any:
        ran: list[bool] = []

        async def noting() -> Any:
            ran.append(True)
            return await function()

        done = await run_step(options, noting)
        if ran:
            count()
        return done

    writer.write_line = counted_line
    DBOS.run_step_async = counted_step


async def work(folder: Path, run_ids: list[str]) -> None:
    """Work until the runs wait, are done or have failed."""
    with DurableRuns(folder, database=DATABASE) as runs:

        def at_work() -> bool:
            return any(runs.status(each).state in ("queued", "running") for each in run_ids)

        async with DurableWorker(folder, {"desk": make()}, database=DATABASE):
            while await asyncio.to_thread(at_work):  # noqa: ASYNC110 - other processes end it
                await asyncio.sleep(0.05)


def in_fork(folder: Path, events: int, run_ids: list[str]) -> int:
    """Work in a process of its own; return 0, or the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        warnings.simplefilter("ignore")
        if events:
            dying_after(events)
        asyncio.run(work(folder, run_ids))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a process failed")
    return status & 0x7F


def main() -> None:
    """Work until a process ends by itself."""
    folder, events, run_ids = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for number in range(1, MOST_PROCESSES):
        if in_fork(folder, events, run_ids) == 0 or number == int(os.environ.get("PROCESSES", "0")):
            print(number)
            return
    raise SystemExit(f"{MOST_PROCESSES} processes were not enough")


if __name__ == "__main__":
    main()
