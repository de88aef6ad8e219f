"""What the fuzzer once found, or began with, stays fixed; and a short random run on top."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import cases
from tests.core.fuzz.seeds import seeds
from tests.core.fuzz.target import check
from tests.core.mutations import mutated

CORPUS = sorted(path for path in Path(__file__).with_name("corpus").iterdir() if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_breaks_no_promise(path):
    check(path.read_bytes())


@pytest.mark.parametrize("seed", list(seeds()), ids=lambda seed: seed[:6].hex())
def test_the_seeds_break_no_promise(seed):
    check(seed)
    for size in range(len(seed)):
        check(seed[:size])


@settings(max_examples=cases(500), deadline=None)
@given(mutated(st.sampled_from(list(seeds()))))
def test_mutated_seeds_break_no_promise(data):
    check(data)
