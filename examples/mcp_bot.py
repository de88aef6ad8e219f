"""A bot whose tools come from an MCP server, which it starts itself.

    python examples/mcp_bot.py "Ada would like a book about the arctic sea"
    python examples/mcp_bot.py --engine llamacpp http://127.0.0.1:8080 maps/qwen2.json "..."

Without an engine the model is a script, so that the example runs anywhere. Each line that the bot is given is
one run; the pipeline is opened, so the server, and what it has lent, stays for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from codec_agents import Chat, MapSpec, Pipeline
from codec_agents.events import ToolFinished
from codec_agents.testing import Call, Piece, PromptView, Say, Think

SERVER = Path(__file__).with_name("mcp_server.py")
SYSTEM = "You run a small library. Search before you lend, and say what is left."


def librarian(prompt: PromptView) -> Iterator[Piece]:
    """Search for the words of the question, lend what is there to who asks, and tell."""
    reader, *words = prompt.user.rstrip(".?!").split()
    if prompt.turn == 1:
        yield Think("I need to look at the shelf first.")
        for word in words[-2:]:
            yield Call("library_search", words=word)
    elif prompt.turn == 2:
        found = {book["title"]: book for result in prompt.results for book in json.loads(result)["books"]}
        if not found:
            yield Say(f"There is nothing about {' '.join(words[-2:])}.")
        for title in found:
            yield Call("library_lend", title=title, reader=reader)
    else:
        yield Say("; ".join(prompt.results) + ".")


def bot(engine: list[str] | None) -> Pipeline:
    """Declare the server, and a model with its tools."""
    p = Pipeline("library").input("question").sink("reader")
    p.mcp("library", [sys.executable, SERVER], prefix="library_")
    if engine is None:
        p.engine("model", kind="embedded", script=librarian)
    else:
        p.engine("model", kind=engine[0], url=engine[1])
    own_map = "demo/bytes" if engine is None else MapSpec(path=str(Path(engine[2]).resolve()))
    prompt = Chat(system=SYSTEM, user="{question}")
    p.model("bot", engine="model", map=own_map, prompt=prompt, tools=["mcp:library"])
    return p.connect("question", "bot.question").connect("bot.answer", "reader")


async def main(arguments: argparse.Namespace) -> None:
    """Start the server, answer each question, and stop it."""
    async with bot(arguments.engine).opened() as pipeline:
        for question in arguments.questions:
            async with pipeline.run({"question": question}) as run:
                async for event in run:
                    if isinstance(event, ToolFinished):
                        print(f"[{event.attempt.call.name}] {event.attempt.status}")
            print(run.result.text["reader"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", nargs=3, metavar=("KIND", "URL", "MAP"))
    parser.add_argument("questions", nargs="+")
    asyncio.run(main(parser.parse_args()))
