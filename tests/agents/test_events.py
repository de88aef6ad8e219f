"""Values that a run tells."""

from __future__ import annotations

from dataclasses import astuple, fields

from codec_agents.events import Usage


def test_a_sum_of_counts_leaves_none_out() -> None:
    one = Usage(*range(1, len(fields(Usage)) + 1))
    assert astuple(one + one) == tuple(2 * value for value in astuple(one))
    assert one + Usage() == one
