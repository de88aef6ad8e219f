"""verl makes an agent loop as it makes its own, and gets its own type (`make test-trainers NAME=verl`)."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("verl", reason="make test-trainers NAME=verl has verl")

import hydra
import numpy as np
from omegaconf import OmegaConf
from verl.experimental.agent_loop import agent_loop as verls

from codec_agents.bridges.verl import PipelineAgentLoop
from codec_agents.records.exporters.checking import UnfitRowError
from codec_agents.records.exporters.verl import agent_loop_output
from codec_agents.records.reader import read_record
from codec_agents.records.trajectories import trajectories_of
from tests.trainers.clients import Output, ScriptedClient, desk, logprob

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@verls.register("codec_desk")
class Desk(PipelineAgentLoop):
    node = "solver"

    def pipeline(self, engine: Any) -> Any:
        return desk(engine)

    def inputs(self, sample: Any) -> Any:
        return {"q": sample["raw_prompt"][-1]["content"]}

    def reward(self, result: Any) -> float:
        return float("6" in result.text["reader"])


class Tokenizer:
    """The part of a tokenizer that verl's base class looks at."""

    def apply_chat_template(self, *_: Any, **__: Any) -> list[int]:
        return [1, 2, 3]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def made(client: Any, response_length: int = 256, prompt_length: int = 256) -> Any:
    """Make a loop as verl's worker does, by hydra from its registry."""
    rollout = {
        "prompt_length": prompt_length, "response_length": response_length, "full_determinism": False,
    }  # fmt: skip
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}, "data": {}})
    return hydra.utils.instantiate(
        config=verls._agent_loop_registry["codec_desk"],
        trainer_config=verls.DictConfigWrap(config=config),
        server_manager=client,
        tokenizer=Tokenizer(),
        processor=None,
        hf_model_type=None,
        dataset_cls=object,
        data_config=verls.DictConfigWrap(config.data),
        tools=verls.ToolListWrap([]),
    )


MESSAGES = [{"role": "user", "content": "go"}]


async def test_a_loop_that_is_a_pipeline_gives_verls_own_output() -> None:
    client = ScriptedClient()
    output = await made(client).run({"temperature": 0.7, "logprobs": True}, raw_prompt=MESSAGES)
    assert isinstance(output, verls.AgentLoopOutput)
    assert output.prompt_ids == client.asked[0]["prompt"]
    assert set(output.response_mask) == {0, 1}
    assert output.response_logprobs == [
        logprob(token) if own else 0.0
        for token, own in zip(output.response_ids, output.response_mask, strict=True)
    ]
    assert (output.reward_score, output.num_turns) == (1.0, 4)
    assert [version for version, _, _ in output.extra_fields["weight_versions"]] == ["1", "2"]
    assert all(asked["temperature"] == 0.7 for asked in client.asked)
    tensors = output.as_dict()
    assert tensors["responses"].shape == tensors["response_mask"].shape == tensors["rollout_log_probs"].shape
    assert float(tensors["rm_scores"][-1]) == 1.0


async def test_a_response_is_cut_to_verls_length_and_experts_go_along() -> None:
    class Routed(ScriptedClient):
        async def generate(self, request_id: str, **given: Any) -> Output:
            answer = await super().generate(request_id, **given)
            ids = len(given["prompt_ids"]) + len(answer.token_ids) - 1
            answer.routed_experts = np.arange(ids * 2, dtype=np.int32).reshape(ids, 1, 2)
            return answer

    output = await made(Routed(), response_length=8).run({}, raw_prompt=MESSAGES)
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) == 8
    assert output.routed_experts.shape == (len(output.prompt_ids) + 8, 1, 2)
    assert output.as_dict()["routed_experts"].shape[0] == len(output.prompt_ids) + 8


async def test_a_prompt_longer_than_verls_is_refused() -> None:
    """verl pads prompts to its length, and would fail on the tensors of the whole batch."""
    whole = await made(ScriptedClient()).run({}, raw_prompt=MESSAGES)
    length = len(whole.prompt_ids)
    assert (await made(ScriptedClient(), prompt_length=length).run({}, raw_prompt=MESSAGES)).response_ids
    with pytest.raises(
        UnfitRowError, match=rf"has {length} ids, and `rollout.prompt_length` is {length - 1}"
    ):
        await made(ScriptedClient(), prompt_length=length - 1).run({}, raw_prompt=MESSAGES)


async def test_an_abort_is_continued() -> None:
    whole = await made(ScriptedClient()).run({}, raw_prompt=MESSAGES)
    output = await made(ScriptedClient(aborts=1)).run({}, raw_prompt=MESSAGES)
    assert (output.response_ids, output.response_mask) == (whole.response_ids, whole.response_mask)
    assert [version for version, _, _ in output.extra_fields["weight_versions"]] == ["1", "2", "3"]


async def test_a_record_becomes_verls_own_type(tmp_path: Any) -> None:
    from codec_agents.engines.in_process import InProcessEngine

    engine = InProcessEngine(ScriptedClient(), logprob_mode="processed")
    await desk(engine).invoke({"q": "go"}, record=tmp_path / "run.jsonl")
    [row] = trajectories_of(read_record(tmp_path / "run.jsonl"))
    output = agent_loop_output(row)
    assert isinstance(output, verls.AgentLoopOutput)
    assert output.response_ids == row.response
