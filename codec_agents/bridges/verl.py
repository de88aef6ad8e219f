"""verl: an agent loop that runs a pipeline on the model under training, by the client that verl gives."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput

from codec_agents.bridges.rollouts import run_rollout
from codec_agents.engines.in_process import InProcessEngine
from codec_agents.engines.values import LogprobMode
from codec_agents.records.exporters import verl as exporter
from codec_agents.records.exporters.checking import UnfitRowError

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline
    from codec_agents.runtime.result import RunResult


class PipelineAgentLoop(AgentLoopBase):  # type: ignore[misc] # verl has no types
    """The base of agent loops that are pipelines; register a subclass with verl's `register`.

    verl makes a loop for each sample and calls `run`; it takes one row, so the node's turns have to be one.
    """

    node: ClassVar[str]
    """The path of the model node that is trained; it has `sampling.logprobs`."""
    logprob_mode: ClassVar[LogprobMode] = "processed"
    """What the client's log probabilities are computed from: `processed` is verl's default for its vLLM."""

    def pipeline(self, engine: InProcessEngine) -> Pipeline:
        """Return the pipeline on an engine: the model under training."""
        raise NotImplementedError

    def inputs(self, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the inputs of the run from a sample of the data set, whose messages are `raw_prompt`."""
        raise NotImplementedError

    def reward(self, result: RunResult) -> float | Mapping[str, float] | None:  # noqa: ARG002 - for subclasses
        """Grade a run; None leaves it to verl's reward function."""
        return None

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> Any:
        """Run the pipeline once; return its row in verl's form, cut to verl's length of a response.

        Raises:
            RunError: the run failed.
            InputError: the pipeline has no such node that asks a model.
            ForkedRolloutError: the node's turns are several rows.
            MissingRolloutError: the node was skipped.
            UnfitRowError: an id has no log probability, or the prompt is longer than verl's length of one.
        """
        engine = InProcessEngine(
            self.server_manager, sampling_params=sampling_params, logprob_mode=self.logprob_mode
        )
        pipeline = self.pipeline(engine)
        row = await run_rollout(pipeline, self.inputs(kwargs), self.node, reward=self.reward)
        # verl would fail on the whole batch, by the shapes of tensors. Prompts of its own it cuts before it
        # sends them; these ids were sampled with the whole prompt.
        if len(row.prompt) > self.rollout_config.prompt_length:
            raise UnfitRowError(
                row,
                f"the prompt has {len(row.prompt)} ids, and `rollout.prompt_length` is "
                f"{self.rollout_config.prompt_length}",
                "raise `data.max_prompt_length`, or shorten the prompt of the node",
            )
        fields = exporter.fields(row)
        # verl pads responses to this length, and has no place for longer ones.
        most = self.rollout_config.response_length
        for name in ("response_ids", "response_mask", "response_logprobs"):
            fields[name] = fields[name] and fields[name][:most]  # None: no log probabilities
        # Those of all ids, the prompt's as well; the other fields are of the response.
        experts = _experts(row.routed_experts)
        fields["routed_experts"] = None if experts is None else experts[: len(row.prompt) + most]
        return AgentLoopOutput(**fields)


def _experts(encoded: list[str]) -> Any:
    """Return the experts of the last request, which are those of all ids before it as well."""
    if not encoded:
        return None
    import numpy as np

    return np.load(io.BytesIO(base64.b64decode(encoded[-1])), allow_pickle=False)
