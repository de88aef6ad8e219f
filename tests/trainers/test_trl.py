"""TRL's trainer calls a pipeline for its rollouts, and learns from them (`make test-trainers NAME=trl`)."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="make test-trainers NAME=trl has torch and trl")
trl = pytest.importorskip("trl", reason="make test-trainers NAME=trl has trl")

from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from codec_agents import Chat, Pipeline  # noqa: E402
from codec_agents.bridges.trl import ModelClient, rollout_func  # noqa: E402
from codec_agents.engines.in_process import InProcessEngine  # noqa: E402
from tests.trainers.clients import BYTES, ScriptedClient, desk  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def tiny_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=BYTES.size, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def tokenizer() -> Any:
    """Return a tokenizer that spells each id by its number: the trainer only decodes with it."""
    spelled = Tokenizer(
        models.WordLevel({f"<{token}>": token for token in range(BYTES.size)}, unk_token="<0>")
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=spelled, pad_token="<1>", eos_token="<2>", unk_token="<0>"
    )


def trained(rollout: Any, tmp_path: Any, seen: list[dict[str, Any]]) -> Any:
    def graded(completions: Any, rewards: Any, **more: Any) -> list[float]:
        seen.append({"rewards": rewards, "completions": completions, **more})
        return [reward or 0.0 for reward in rewards]

    config = trl.GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=2, max_steps=1,
        max_completion_length=64, use_cpu=True, report_to=[], save_strategy="no", logging_steps=1,
        learning_rate=1e-2, temperature=1.0,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=tiny_model(),
        reward_funcs=graded,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": f"number {n}"} for n in range(4)]),
        processing_class=tokenizer(),
        rollout_func=rollout,
    )
    before = [value.clone() for value in trainer.model.parameters()]
    trainer.train()
    changed = any(
        not torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True)
    )
    return trainer, changed


def rollouts_of(pipeline: Any) -> Any:
    """Return rollouts whose rewards alternate."""
    grades = iter(range(100))
    return rollout_func(
        pipeline,
        node="solver",
        inputs=lambda prompt: {"q": prompt},
        reward=lambda _: float(next(grades) % 2),
        concurrency=1,  # one after the other, so that the answers to one prompt have different rewards
    )


def test_the_trainers_own_model_answers_in_a_pipeline_and_learns(tmp_path: Any) -> None:
    def pipeline(trainer: Any) -> Pipeline:
        p = Pipeline("plain").input("q").sink("reader")
        client = InProcessEngine(ModelClient(trainer.model), logprob_mode="processed")
        p.model(
            "solver",
            engine=client,
            map="demo/bytes",
            prompt=Chat(user="{text}"),
            sampling={"logprobs": True, "temperature": 1.0, "max_tokens": 12},
        )
        return p.connect("q", "solver").connect("solver", "reader")

    rollout = rollouts_of(pipeline)
    seen: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []

    def keeping(prompts: Any, trainer: Any) -> Any:
        kept.append({"prompts": prompts, **rollout(prompts, trainer)})
        return {name: value for name, value in kept[-1].items() if name != "prompts"}

    trainer, changed = trained(keeping, tmp_path, seen)
    assert changed
    [batch] = kept
    assert len(batch["prompt_ids"]) == len(batch["prompts"]) == 4
    assert len(set(batch["prompts"])) == 2  # each prompt comes as often as it is answered
    assert seen[0]["run_ids"] == batch["run_ids"]
    # What the client said of its ids is what the untrained model says of them, computed in one pass.
    model = tiny_model()
    for prompt, ids, logprobs in zip(
        batch["prompt_ids"], batch["completion_ids"], batch["logprobs"], strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].float()
        want = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        assert torch.allclose(want, torch.tensor(logprobs), atol=2e-3)  # it trains in bfloat16
    assert trainer.state.global_step == 1


def test_turns_with_tools_reach_the_trainer_with_their_mask(tmp_path: Any) -> None:
    clients: list[ScriptedClient] = []

    def pipeline(_: Any) -> Pipeline:
        clients.append(ScriptedClient())
        return desk(InProcessEngine(clients[-1], logprob_mode="processed"))

    rollout = rollouts_of(pipeline)
    kept: list[Any] = []

    def keeping(prompts: Any, trainer: Any) -> Any:
        kept.append(rollout(prompts, trainer))
        return dict(kept[-1])

    _, changed = trained(keeping, tmp_path, [])
    assert changed
    [batch] = kept
    for ids, mask, logprobs in zip(
        batch["completion_ids"], batch["env_mask"], batch["logprobs"], strict=True
    ):
        assert len(ids) == len(mask) == len(logprobs)
        assert 0 in mask
    assert len(clients[0].asked) == 8


def test_parameters_that_the_client_does_not_apply_are_refused() -> None:
    import anyio

    with pytest.raises(ValueError, match="top_p is not applied"):
        anyio.run(
            lambda: ModelClient(tiny_model()).generate("r", prompt_ids=[1], sampling_params={"top_p": 0.5})
        )


def test_a_parameter_that_is_none_was_not_set() -> None:
    import anyio

    client = ModelClient(tiny_model())

    def drawn(**params: Any) -> list[int]:
        asked = {"max_tokens": 8, "seed": 3, **params}
        return anyio.run(lambda: client.generate("r", prompt_ids=[1], sampling_params=asked)).token_ids

    assert drawn(temperature=None) == drawn(temperature=1.0)
    assert drawn(stop_token_ids=None) == drawn()
