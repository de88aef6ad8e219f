"""The values of a run's inputs: text, or whole numbers that are ids of the input's map."""

from __future__ import annotations

import array
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import InputError
from codec_agents.plan.plan import BuiltPipeline


@pytest.fixture(scope="module")
def built() -> BuiltPipeline:
    p = Pipeline("ids").input("q", type="ids", map="demo/bytes").sink("s", text=False)
    return p.connect("q", "s").build()


@pytest.mark.parametrize("value", [[72, 105], (72, 105), array.array("i", [72, 105]), iter([72, 105])])
def test_ids_are_whole_numbers_of_any_sequence(built: BuiltPipeline, value: Any) -> None:
    checked = built.checked_inputs({"q": value})
    assert checked == {"q": [72, 105]}
    assert all(type(each) is int for each in checked["q"])


@pytest.mark.parametrize("value", [5, 1.5, b"Hi", {72: 105}, {72, 105}, True])
def test_what_is_no_list_of_ids_is_refused(built: BuiltPipeline, value: Any) -> None:
    with pytest.raises(InputError, match=f"takes a list of ids, not {type(value).__name__}"):
        built.checked_inputs({"q": value})


@pytest.mark.parametrize("value", ["a", 1.0, True, None, [1], -1, 2**70])
def test_what_is_no_id_is_refused_with_its_position(built: BuiltPipeline, value: Any) -> None:
    with pytest.raises(InputError, match="at position 1, which is no id of the map demo/bytes"):
        built.checked_inputs({"q": [72, value]})


def test_names_that_are_no_text_are_unknown(built: BuiltPipeline) -> None:
    names: Any = {1: [72], "z": [72]}
    with pytest.raises(InputError, match="there is no input 1"):
        built.checked_inputs(names)
