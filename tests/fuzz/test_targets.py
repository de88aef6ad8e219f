"""What the fuzzer once found, or began with, stays fixed; and a short random run on top."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import cases
from tests.core.mutations import mutated
from tests.fuzz.targets import CORPUS, TARGETS, load

FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
CHECKED = {"wire": 500, "regions": 300, "bodies": 150, "records": 40, "maps": 15, "builders": 15}
"""Mutated seeds of each target, in proportion to what one costs."""


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name} {path.name}")
def test_the_corpus_breaks_no_promise(path):
    load(path.parent.name).check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_break_no_promise(name):
    target = load(name)
    for seed in target.seeds():
        target.check(seed)
        for size in range(0, len(seed), 1 if name == "wire" else max(len(seed) // 8, 1)):
            target.check(seed[:size])


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_seeds_break_no_promise(name):
    target = load(name)

    @settings(max_examples=cases(CHECKED[name]), deadline=None)
    @given(mutated(st.sampled_from(list(target.seeds()))))
    def run(data):
        target.check(data)

    run()
