"""What a trainer reads of a real run, checked against the lines of its record by another reader than ours.

The run has two models of two vocabularies, calls of tools, results that were dropped from the history (which
forks a node's ids), and rewards.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from codec_agents import Pipeline
from codec_agents.cli import main
from codec_agents.records.exporters import EXPORTERS
from codec_agents.testing import Call, PromptView, Say, ScriptedEngine, ScriptedModel
from tests.conftest import REPOSITORY

CONTEXT = 600
"""Of the solver's engine: what it has looked up does not fit in it twice."""


def logprob(token: int) -> float:
    return -token / 1_000


def looks(prompt: PromptView) -> Any:
    return Say("done") if prompt.turn == 4 else Call("look", n=prompt.turn)


def look(n: int) -> str:
    """Look at a page."""
    return f"page {n}: " + "rain in Oslo and sun in Rome " * 10


def pipeline() -> Pipeline:
    def engine(script: Any) -> ScriptedEngine:
        return ScriptedEngine(ScriptedModel(script=script, logprob=logprob, ids_a_frame=(1, 5)))

    asked = {"logprobs": True, "temperature": 1.0}
    p = Pipeline("desk").input("q").sink("out")
    p.engine("a", engine(looks), context=CONTEXT).engine("b", engine(lambda prompt: f"so: {prompt.user}"))
    policy = {"on_overflow": "drop_oldest_results"}
    p.model("solver", engine="a", map="demo/words", prompt="{q}", tools=[look], sampling=asked, policy=policy)
    p.model("writer", engine="b", map="demo/bytes", prompt="{draft}", sampling=asked)
    return p.connect("q", "solver.q").connect("solver", "writer.draft").connect("writer", "out")


@dataclass
class Expected:
    """One row, as the lines of the record have it: ids, whether each was sampled, and its log probability."""

    node: str
    reward: float
    ids: list[tuple[int, int, float]] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)

    @property
    def prompt(self) -> list[int]:
        return [token for token, _, _ in self.ids[: self.turns[0][0]]]

    def response(self, part: int) -> list[Any]:
        return [each[part] for each in self.ids[self.turns[0][0] :]]


REWARDS = {"solver": 0.75, "writer": 0.25}


def expected(record: Path) -> list[Expected]:
    """Read the lines of a record without any of the readers of the package."""
    now: dict[str, list[int]] = {}
    rows: dict[str, list[Expected]] = {}
    for line in map(json.loads, record.read_text().splitlines()):
        node = line.get("node")
        if line["kind"] == "prompt":
            prompt = now.get(node, [])[: line["kept"]] + line["ids"]
            of_node = rows.setdefault(node, [])
            if not of_node or [token for token, _, _ in of_node[-1].ids] != prompt[: len(of_node[-1].ids)]:
                of_node.append(Expected(node, REWARDS[node]))
            row = of_node[-1]
            row.ids += [(token, 0, 0.0) for token in prompt[len(row.ids) :]]
            row.turns.append((len(row.ids), len(row.ids)))
            now[node] = prompt
        elif line["kind"] == "ids":
            row = rows[node][-1]
            row.ids += [
                (token, 1, value)
                for token, value in zip(line["ids"], line["values"]["logprobs"], strict=True)
            ]
            row.turns[-1] = (row.turns[-1][0], len(row.ids))
            now[node] += line["ids"]
    return [row for node in rows for row in rows[node]]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    pipeline().invoke_sync({"q": "go"}, record=path)
    rewards = [f"--reward={node}={value}" for node, value in REWARDS.items()]
    annotated = CliRunner().invoke(main, ["record", "annotate", str(path), *rewards, "--set", "judge=tests"])
    assert annotated.exit_code == 0, annotated.output
    return path


def exported(record: Path, form: str) -> list[Any]:
    output = record.with_name(f"rows-{form}")
    done = CliRunner().invoke(main, ["record", "export", str(record), "--format", form, "-o", str(output)])
    assert done.exit_code == 0, done.output
    if form != "parquet":
        return [json.loads(line) for line in output.read_text().splitlines()]
    from pyarrow import parquet

    rows: list[Any] = parquet.read_table(output).to_pylist()
    return rows


def test_the_run_has_what_is_checked(record: Path) -> None:
    rows = expected(record)
    assert [row.node for row in rows].count("solver") > 1, "no fork"
    assert max(len(row.turns) for row in rows) > 1, "no row of several turns"
    assert rows[-1].node == "writer"
    for row in rows:
        assert all(value == (logprob(token) if own else 0.0) for token, own, value in row.ids)
        assert len({own for _, own, _ in row.ids}) == 2


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_plain_rows_are_those_of_the_record(record: Path, form: str) -> None:
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed: the extra parquet; make test-trainers has it")
    for row, want in zip(exported(record, form), expected(record), strict=True):
        assert (row["node"], row["reward"]) == (want.node, want.reward)
        assert row["ids"] == [token for token, _, _ in want.ids]
        assert row["sampled"] == [bool(own) for _, own, _ in want.ids]
        assert row["logprobs"] == [value for _, _, value in want.ids]
        assert list(zip(row["turn_starts"], row["turn_ends"], strict=True)) == want.turns


def test_verl_and_slime_have_a_line_a_row(record: Path) -> None:
    rows = expected(record)
    for row, want in zip(exported(record, "verl"), rows, strict=True):
        assert (row["prompt_ids"], row["response_ids"]) == (want.prompt, want.response(0))
        assert (row["response_mask"], row["response_logprobs"]) == (want.response(1), want.response(2))
        assert (row["reward_score"], row["num_turns"]) == (want.reward, 2 * len(want.turns))
    for row, want in zip(exported(record, "slime"), rows, strict=True):
        assert row["tokens"] == [token for token, _, _ in want.ids]
        assert row["response_length"] == len(row["loss_mask"]) == len(want.response(0))
        assert (row["loss_mask"], row["rollout_log_probs"]) == (want.response(1), want.response(2))
        assert (row["reward"], row["metadata"]["node"], row["metadata"]["judge"]) == (
            want.reward,
            want.node,
            "tests",
        )


def test_trl_and_skyrl_have_a_list_by_field(record: Path) -> None:
    rows = expected(record)
    responses, masks, logprobs = ([row.response(part) for row in rows] for part in range(3))
    [trl] = exported(record, "trl")
    assert trl["prompt_ids"] == [row.prompt for row in rows]
    assert (trl["completion_ids"], trl["env_mask"], trl["logprobs"]) == (responses, masks, logprobs)
    assert (trl["rewards"], trl["nodes"]) == ([row.reward for row in rows], [row.node for row in rows])
    [skyrl] = exported(record, "skyrl")
    assert skyrl["prompt_token_ids"] == [row.prompt for row in rows]
    assert (skyrl["response_ids"], skyrl["loss_masks"], skyrl["rollout_logprobs"]) == (
        responses,
        masks,
        logprobs,
    )
    assert skyrl["rewards"] == [row.reward for row in rows]


def test_verifiers_has_each_turn_in_its_context(record: Path) -> None:
    for row, want in zip(exported(record, "verifiers"), expected(record), strict=True):
        assert (row["node"], row["reward"]) == (want.node, want.reward)
        assert row["turns"] == [
            {
                "prompt_ids": [token for token, _, _ in want.ids[:start]],
                "completion_ids": [token for token, _, _ in want.ids[start:end]],
                "completion_logprobs": [value for _, _, value in want.ids[start:end]],
            }
            for start, end in want.turns
        ]


def test_a_refused_export_leaves_the_file_as_it_was(record: Path, tmp_path: Path) -> None:
    bare, output = tmp_path / "bare.jsonl", tmp_path / "rows"
    p = pipeline()
    p.invoke_sync({"q": "go"}, record=bare)  # without rewards
    for form in sorted(EXPORTERS.keys() & {"skyrl", "slime"}):
        output.write_text("before")
        done = CliRunner().invoke(
            main, ["record", "export", str(record), str(bare), "--format", form, "-o", str(output)]
        )
        assert done.exit_code == 6, done.output
        assert "there is no reward" in done.output
        assert output.read_text() == "before"


def drawn_raw(path: Path, sampling: dict[str, Any]) -> Path:
    """Record a run whose log probabilities are raw, as those of vLLM are."""
    engine = ScriptedEngine(ScriptedModel(script=lambda _: "yes", logprob=logprob))
    engine.logprob_mode = "raw"
    p = Pipeline("one").input("q").sink("out").engine("a", engine)
    p.model("m", engine="a", map="demo/words", prompt="{q}", sampling=sampling)
    p.connect("q", "m").connect("m", "out").invoke_sync({"q": "go"}, record=path)
    return path


def test_log_probabilities_of_another_distribution_are_exported_only_on_demand(tmp_path: Path) -> None:
    """With a temperature alone, the model's own `top_p` may have been applied."""
    run = drawn_raw(tmp_path / "run.jsonl", {"logprobs": True, "temperature": 1.0})
    output = tmp_path / "rows"
    command = ["record", "export", str(run), "--format", "trl", "-o", str(output)]
    refused = CliRunner().invoke(main, command)
    assert (refused.exit_code, output.exists()) == (6, False)
    assert "leave out top_p, top_k, min_p, repetition_penalty" in refused.output
    assert "--any-mode" in refused.output
    taken = CliRunner().invoke(main, [*command, "--any-mode"])
    assert taken.exit_code == 0, taken.output
    assert json.loads(output.read_text())["logprobs"]


def test_the_sampling_of_the_page_of_training_is_exported(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    declared = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    run = drawn_raw(tmp_path / "run.jsonl", declared["nodes"]["solver"]["sampling"])
    output = tmp_path / "rows"
    done = CliRunner().invoke(main, ["record", "export", str(run), "--format", "trl", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert json.loads(output.read_text())["logprobs"]


def test_a_record_is_not_written_over(record: Path) -> None:
    before = record.read_bytes()
    done = CliRunner().invoke(main, ["record", "export", str(record), "--format", "verl", "-o", str(record)])
    assert (done.exit_code, record.read_bytes()) == (2, before)
    assert "one of the records that are read" in done.output
