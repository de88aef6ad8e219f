"""Policies: merging, back-off, bounds."""

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from codec_agents.engines.base import DEFAULT_MAX_TOKENS
from codec_agents.graph import Limits, Policy, RetryPolicy, Sampling, TimeoutPolicy
from codec_agents.graph.policy import DEFAULT_TURNS


def test_a_node_overrides_only_what_it_sets():
    base = Policy(timeouts=TimeoutPolicy(idle=5), limits=Limits(turns=3), on_failure="skip")
    node = Policy(timeouts=TimeoutPolicy(first_id=7), limits=Limits(turns=DEFAULT_TURNS))
    merged = base.overridden_by(node)
    assert (merged.timeouts.idle, merged.timeouts.first_id) == (5, 7)
    assert merged.limits.turns == DEFAULT_TURNS, "a value that is set counts, also when it is the default"
    assert merged.on_failure == "skip"


def test_no_override_changes_nothing():
    base = Policy(limits=Limits(turns=3))
    assert base.overridden_by(None) == base
    assert base.overridden_by(Policy()) == base


def test_a_limit_can_be_lifted():
    assert Policy().overridden_by(Policy(timeouts=TimeoutPolicy(idle=None))).timeouts.idle is None


def test_delays_double_up_to_the_longest():
    assert list(RetryPolicy(attempts=5, initial=1, max=5, jitter=0).delays()) == [1, 2, 4, 5]
    assert list(RetryPolicy(attempts=1).delays()) == []
    assert list(RetryPolicy(attempts=2000, max=5, jitter=0).delays())[-1] == 5


def test_jitter_only_shortens():
    policy = RetryPolicy(attempts=50, initial=1, max=8, jitter=0.5)
    delays = list(policy.delays(random.Random(7)))
    assert all(0.5 <= delays[0] <= 1 and 4 <= delay <= 8 for delay in delays[4:])
    assert len(set(delays)) == len(delays)
    assert delays == list(policy.delays(random.Random(7)))


@pytest.mark.parametrize(
    ("section", "fields"), [("Policy", list(Policy.model_fields)), ("Sampling", list(Sampling.model_fields))]
)
def test_the_page_names_every_field(section, fields):
    page = (Path(__file__).parents[3] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    assert [name for name in fields if f"`{name}" not in text] == []


def test_the_documented_length_is_the_default():
    page = (Path(__file__).parents[3] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    assert f"{DEFAULT_MAX_TOKENS:,} if the engine does not report its context" in page


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TimeoutPolicy, {"idle": 0}),
        (TimeoutPolicy, {"idel": 1}),
        (RetryPolicy, {"attempts": 0}),
        (RetryPolicy, {"jitter": 2}),
        (RetryPolicy, {"on": ["weather"]}),
        (Limits, {"turns": 0}),
        (Limits, {"turns": None}),
        (Policy, {"on_failure": "ignore"}),
        (Policy, {"on_length": "ignore"}),
        (Policy, {"retry": {"initial": 9, "max": 3}}),
    ],
)
def test_what_makes_no_sense_is_refused(kind, fields):
    with pytest.raises(ValidationError):
        kind(**fields)
