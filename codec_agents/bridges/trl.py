"""TRL: a `rollout_func` for `GRPOTrainer` that runs a pipeline for each prompt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio.to_thread

from codec_agents.bridges.rollouts import ROLLOUTS_AT_ONCE, Reward, run_rollouts
from codec_agents.records.exporters.trl import rollout
from codec_agents.records.logprobs import NEUTRAL
from codec_agents.runtime.own_loop import run_to_the_end

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline

MAX_TOKENS = 1024
"""The most ids of an answer where the request does not say."""

READ = {"temperature", "max_tokens", "stop_token_ids", "seed", "logprobs", "stop"}


class Generated(NamedTuple):
    """An answer in the form of `InProcessEngine`'s clients."""

    token_ids: list[int]
    log_probs: list[float]


class ModelClient:
    """A client for a causal language model in this process, `trainer.model` for one: no server is needed.

    It draws from the whole distribution at the request's temperature, and its log probabilities are those of
    that distribution: make its engine with `logprob_mode="processed"`. One answer is generated at a time.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._turns = threading.Lock()

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Generated:
        """Return the ids that follow a prompt.

        Raises:
            ValueError: a parameter would change the distribution in a way that is not known here.
        """
        del request_id  # which a server needs to end a request
        # Refused, not ignored: log probabilities would then be of another distribution than the drawn one.
        for name, value in sampling_params.items():
            if name not in READ and value not in (*NEUTRAL.get(name, ()), None):
                raise ValueError(f"the parameter {name} is not applied here; leave it out")
        if sampling_params.get("stop"):
            raise ValueError("stop texts are not applied here; use stop ids")
        return await anyio.to_thread.run_sync(self._generate, prompt_ids, sampling_params)

    def _generate(self, prompt_ids: list[int], params: Mapping[str, Any]) -> Generated:
        import torch

        # What is None was not set, as in the check above: it is not 0.
        given = {name: value for name, value in params.items() if value is not None}
        model, stops = self._model, set(given.get("stop_token_ids", ()))
        temperature = given.get("temperature", 1.0)  # the model's own distribution
        answer = Generated([], [])
        with self._turns, torch.no_grad():
            training = model.training
            model.eval()  # without dropout, as an inference server has the model
            try:
                # A generator of its own: the trainer's random numbers stay those that its seed gives.
                draw = torch.Generator(device=model.device)
                draw.manual_seed(given["seed"]) if "seed" in given else draw.seed()
                ids, cache = torch.tensor([prompt_ids], device=model.device), None
                for _ in range(given.get("max_tokens", MAX_TOKENS)):
                    output = model(input_ids=ids, past_key_values=cache, use_cache=True)
                    cache = output.past_key_values
                    logits = output.logits[0, -1].float()  # half precision is too coarse for these
                    # At temperature 0 nothing is drawn: the value is that of the model's own distribution.
                    logprobs = (logits / temperature if temperature else logits).log_softmax(dim=-1)
                    drawn = (
                        torch.multinomial(logprobs.exp(), 1, generator=draw)
                        if temperature
                        else logprobs.argmax()
                    )
                    token = int(drawn)
                    answer.token_ids.append(token)  # a stop id as well: it was sampled, and is trained on
                    answer.log_probs.append(float(logprobs[token]))
                    if token in stops:
                        break
                    ids = torch.tensor([[token]], device=model.device)
            finally:
                model.train(training)
        return answer


Prompt = Any
"""What the data set has under `prompt`: a text, or a list of messages."""


def rollout_func(
    pipeline: Callable[[Any], Pipeline],
    *,
    node: str,
    inputs: Callable[[Prompt], Mapping[str, Any]],
    reward: Reward | None = None,
    concurrency: int = ROLLOUTS_AT_ONCE,
    folder: str | Path | None = None,
    any_mode: bool = False,
) -> Callable[[list[Prompt], Any], dict[str, list[Any]]]:
    """Return a function that `GRPOTrainer(rollout_func=...)` calls with prompts and itself.

    The trainer repeats each prompt as often as it wants answers to it, so one run is made for each.

    Args:
        pipeline: makes the pipeline on the trainer's model, given the trainer; called once for each batch,
            since weights have changed between two.
        node: the path of the node that is trained; it has `sampling.logprobs`.
        inputs: makes the inputs of a run from a prompt.
        reward: grades a run; its rewards reach reward functions as `rewards`.
        concurrency: runs at a time.
        folder: where records are kept; they are deleted when left out.
        any_mode: take log probabilities whatever they were computed from.
    """

    def roll_out(prompts: list[Prompt], trainer: Any) -> dict[str, list[Any]]:
        async def run_all() -> dict[str, list[Any]]:
            built = pipeline(trainer)
            async with built.opened():  # engines and MCP servers once for the batch
                rows = await run_rollouts(
                    built,
                    [inputs(prompt) for prompt in prompts],
                    node,
                    reward=reward,
                    folder=folder,
                    concurrency=concurrency,
                )
            return rollout(rows, any_mode=any_mode)

        # The trainer is not async, and runs inside a running loop where it is started in a notebook.
        return run_to_the_end(run_all)

    return roll_out
