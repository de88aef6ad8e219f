"""A payment that needs approval, in two processes: one asks, another one answers, at any time later.

    python examples/approval.py ask waiting.json       # runs until the payment, and suspends the run
    python examples/approval.py yes waiting.json       # continues from exactly the same token ids
    python examples/approval.py no waiting.json

The models are scripted, so that the example runs anywhere: a clerk that sums up the complaint, and a cashier
that may pay money back.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from codec_agents import Chat, Pipeline, tool
from codec_agents.exceptions import ApprovalRequiredError
from codec_agents.runtime.pause import Pause
from codec_agents.testing import Call, Piece, PromptView, Say


@tool(read_only=True)
def price(order: str) -> str:
    """Look up what an order cost."""
    return {"A-17": "49.90"}.get(order, "unknown")


@tool(approval=True)
def refund(order: str, amount: Annotated[float, "euros"]) -> str:
    """Pay money back."""
    print(f"[bank] {amount:.2f} euros for {order}")
    return f"paid {amount:.2f}"


def clerk(prompt: PromptView) -> str:
    """Sum up."""
    print("[clerk] reads the complaint")
    return f"Order A-17 is broken: {prompt.user}"


def cashier(prompt: PromptView) -> Iterator[Piece]:
    """Look the price up, ask for the payment, and say what came of it."""
    if prompt.turn == 1:
        yield Call("price", order="A-17")
        yield Call("refund", order="A-17", amount=49.9)
    else:
        cost, paid = prompt.results
        yield Say(f"The order cost {cost}; the refund: {paid}.")


def pipeline() -> Pipeline:
    """Declare a clerk, and a cashier with two tools."""
    p = Pipeline("complaints")
    p.input("complaint")
    p.engine("clerks", kind="embedded", script=clerk)
    p.engine("cashiers", kind="embedded", script=cashier)
    p.model("clerk", engine="clerks", map="demo/bytes", prompt=Chat(user="{complaint}"))
    p.model(
        "cashier",
        engine="cashiers",
        map="demo/bytes",
        prompt=Chat(user="{summary}"),
        tools=[price, refund],
    )
    p.sink("reader")
    p.connect("complaint", "clerk.complaint")
    p.connect("clerk.answer", "cashier.summary")
    p.connect("cashier.answer", "reader")
    return p


async def ask() -> ApprovalRequiredError | None:
    """Run until somebody has to decide."""
    async with pipeline().opened() as desk:
        try:
            await desk.invoke({"complaint": "the lamp does not shine"})
        except ApprovalRequiredError as waiting:
            return waiting
    return None


async def answer(pause: Pause, decision: bool | str) -> str:
    """Continue the suspended run."""
    async with pipeline().opened() as desk:
        result = await desk.resume(pause, [decision] * len(pause.pending)).execute()
    return result.text["reader"]


def main(command: str, file: Path) -> None:
    """Write a suspended run into a file, or read one from it and continue."""
    if command != "ask":
        decision = True if command == "yes" else "the manager said no"
        print(asyncio.run(answer(Pause.from_json(file.read_text(encoding="utf-8")), decision)))
    elif waiting := asyncio.run(ask()):
        file.write_text(waiting.pause.to_json(), encoding="utf-8")
        for call in waiting.pending:
            print(f"waits for approval: {call.name} {call.arguments}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A payment that needs approval, in two processes.")
    parser.add_argument("command", choices=("ask", "yes", "no"))
    parser.add_argument("file", type=Path, help="the file of the suspended run")
    given = parser.parse_args()
    main(given.command, given.file)
