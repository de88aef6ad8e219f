"""The travel desk on engines that you run: llama.cpp, vLLM, SGLang, or any Codec server.

    llama-server -m qwen2.5-7b-instruct.gguf --port 8080
    vllm serve meta-llama/Llama-3.1-8B-Instruct --port 8000
    python examples/stock_engines.py "I fly from Lisbon to Oslo on a Friday in March. What should I pack?" \
        --planner llamacpp http://127.0.0.1:8080 maps/qwen2.json \
        --writer vllm http://127.0.0.1:8000 maps/llama-3.json meta-llama/Llama-3.1-8B-Instruct

Each engine is named by its kind, its origin, the tokenizer map of its model, and the model's name there,
where it has several. A model whose map does not tell its dialect is given one with `--planner-dialect` or
`--writer-dialect`. What the planner says reaches the writer as ids of the writer's own vocabulary; text is
made for you alone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from codec_agents import Chat, MapSpec, Pipeline, PipelineError, RunError

sys.path.insert(0, str(Path(__file__).parent))
from travel_tools import climate, fares

SYSTEM = "You plan trips. Look fares and climate up with your tools, then draft short notes for the writer."


def travel_desk(planner: list[str], writer: list[str], dialects: dict[str, str | None]) -> Pipeline:
    """Return the pipeline; each engine is (kind, origin, map file) and, if it wants one, a model name."""
    desk = Pipeline("travel-desk").input("question").sink("reader", text=True)
    asked = Chat(system=SYSTEM, user="{question}")
    _model(desk, "planner", planner, asked, tools=[fares, climate], dialect=dialects["planner"])
    rewrites = Chat(user="Rewrite these notes for a customer:\n{draft}")
    _model(desk, "writer", writer, rewrites, dialect=dialects["writer"])
    desk.connect("question", "planner.question").connect("planner.answer", "writer.draft")
    return desk.connect("writer.answer", "reader")


def _model(
    desk: Pipeline,
    name: str,
    place: list[str],
    prompt: Chat,
    tools: list[object] | None = None,
    dialect: str | None = None,
) -> None:
    kind, url, map_file, *model = place
    desk.engine(f"{name}-engine", kind=kind, url=url)
    desk.model(
        name,
        engine=f"{name}-engine",
        map=MapSpec(path=str(Path(map_file).resolve())),
        model=model[0] if model else None,
        prompt=prompt,
        dialect=dialect,
        tools=tools or (),
    )


async def main(arguments: argparse.Namespace) -> int:
    dialects = {"planner": arguments.planner_dialect, "writer": arguments.writer_dialect}
    desk = travel_desk(arguments.planner, arguments.writer, dialects)
    try:
        async with desk.opened(), desk.run({"question": arguments.question}) as run:
            async for piece in run.text("reader"):
                print(piece, end="", flush=True)
    except (PipelineError, RunError) as error:
        print(error, file=sys.stderr)
        return 1
    print()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question")
    for role in ("planner", "writer"):
        parser.add_argument(
            f"--{role}", nargs="+", required=True, metavar="PLACE", help="KIND URL MAP [MODEL]"
        )
        parser.add_argument(f"--{role}-dialect", help="where its map does not tell it")
    raise SystemExit(asyncio.run(main(parser.parse_args())))
