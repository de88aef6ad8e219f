"""Clients in place of a trainer's model: scripted ones, whose turns call tools, and which may abort."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import SamplingOptions
from codec_agents.testing import Call, PromptView, Say, ScriptedModel
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of

BYTES = vocabulary_of(bundled_map("demo/bytes"))


def logprob(token: int) -> float:
    return -(token % 7) / 8 - 0.125


def script(prompt: PromptView) -> Any:
    """Look something up, and say it."""
    return [Say("I look. "), Call("look", number=3)] if prompt.turn == 1 else f"It is {prompt.results[0]}."


@dataclass
class Output:
    """An answer, with the fields that verl's `TokenOutput` has."""

    token_ids: list[int]
    log_probs: list[float] | None = None
    stop_reason: str | None = "completed"
    routed_experts: Any = None
    extra_fields: dict[str, Any] = field(default_factory=dict)


class ScriptedClient:
    """Answers as a script says; the weights change with every answer.

    Not a dataclass: hydra, which makes verl's loops, would take it for a configuration.

    Args:
        aborts: how many of the first answers are aborted after two ids.
    """

    def __init__(self, *, aborts: int = 0) -> None:
        self.model = ScriptedModel(script=script)
        self.aborts = aborts
        self.asked: list[dict[str, Any]] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Output:
        self.asked.append({"id": request_id, "prompt": prompt_ids, **sampling_params})
        options = SamplingOptions(
            max_tokens=sampling_params["max_tokens"], stop_token_ids=tuple(sampling_params["stop_token_ids"])
        )
        ids = self.model.turn(prompt_ids, BYTES, options).ids
        reason = "completed"
        if self.aborts:
            self.aborts, ids, reason = self.aborts - 1, ids[:2], "aborted"
        steps = {"global_steps": len(self.asked)}
        return Output(ids, [logprob(token) for token in ids], reason, None, steps)


def look(number: int) -> int:
    """Look."""
    return number * 2


def desk(engine: Any, **sampling: Any) -> Pipeline:
    """Return a pipeline of one model with a tool."""
    p = Pipeline("desk").input("q").sink("reader")
    p.model(
        "solver",
        engine=engine,
        map="demo/bytes",
        prompt=Chat(user="{text}"),
        tools=[look],
        sampling={"logprobs": True, "max_tokens": 64, **sampling},
        policy={"retry": {"initial": 0, "max": 0}},
    )
    return p.connect("q", "solver").connect("solver", "reader")
