"""What the fuzzer once found, or began with, stays fixed; and a short random run on top."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fuzz.seeds import seeds
from tests.core.fuzz.target import check

CORPUS = sorted(path for path in Path(__file__).with_name("corpus").iterdir() if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_breaks_no_promise(path):
    check(path.read_bytes())


@pytest.mark.parametrize("seed", list(seeds()), ids=lambda seed: seed[:6].hex())
def test_the_seeds_break_no_promise(seed):
    check(seed)
    for size in range(len(seed)):
        check(seed[:size])


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(list(seeds())), st.data())
def test_mutated_seeds_break_no_promise(seed, data):
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not mutated:
            return
    check(bytes(mutated))
