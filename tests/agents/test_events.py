"""Values that a run tells."""

from __future__ import annotations

from msgspec.structs import astuple

from codec_agents.events import Usage


def test_a_sum_of_counts_leaves_none_out() -> None:
    one = Usage(*range(1, len(Usage.__struct_fields__) + 1))
    assert astuple(one + one) == tuple(2 * value for value in astuple(one))
    assert one + Usage() == one
