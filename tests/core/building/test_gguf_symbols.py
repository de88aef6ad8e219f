"""User-defined tokens of GGUF files: llama.cpp finds the longest first, a map the leftmost."""

from random import Random

import pytest

from codec_core.added import AddedTokens
from codec_core.building import build_from_gguf
from codec_core.building.gguf_symbols import MAX_LENGTH, check_order
from codec_core.exceptions import MapBuildError
from codec_core.maps import AddedToken
from tests.core.building.gguf_files import gguf


def found_longest_first(text: str, names: list[str]) -> list[str | int]:
    """Return the stretches and the numbers of the names between them, in the order of llama.cpp."""
    parts: list[str | int] = [text]
    for name in sorted(names, key=len, reverse=True):
        for place in reversed(range(len(parts))):
            part = parts[place]
            if isinstance(part, str) and name in part:
                pieces: list[str | int] = []
                for piece in part.split(name):
                    pieces += [*([piece] if piece else []), names.index(name)]
                parts[place : place + 1] = pieces[:-1]
    return parts


def test_names_that_are_accepted_are_found_alike_in_any_order():
    random, accepted = Random(1), 0
    for _ in range(150):
        names = list({"".join(random.choices("aab", k=random.randint(1, 4))) for _ in range(3)})
        try:
            check_order(names)
        except MapBuildError:
            continue
        accepted += 1
        tokens = AddedTokens({name: (number, AddedToken(name)) for number, name in enumerate(names)})
        for _ in range(10):
            text = "".join(random.choices("abc", k=random.randrange(1, 12)))
            assert tokens.split(text) == found_longest_first(text, names), (names, text)
    assert accepted > 40


@pytest.mark.parametrize("names", [["ab", "bcd"], ["ab", "ba"], ["\n\nx", "\n\n", "\n\n\n"]])
def test_names_that_begin_within_shorter_ones_are_refused(names):
    with pytest.raises(MapBuildError, match="finds the second first"):
        check_order(names)


def test_runs_of_one_character_are_accepted_in_any_number_that_files_have():
    check_order("\n" * count for count in range(1, 32))


def test_too_many_pairs_are_not_looked_at():
    with pytest.raises(MapBuildError, match="too many"):
        check_order(("\n" * count for count in range(1, 32)), most=10)


def test_names_are_bounded_because_each_place_in_them_is_looked_up():
    check_order(["x" + "y" * (MAX_LENGTH - 1), "z"])
    with pytest.raises(MapBuildError, match="has 257 characters"):
        check_order(["x" + "y" * MAX_LENGTH])


def test_a_file_with_such_names_is_refused(tmp_path):
    section = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": ["a", "b", "c", "ab", "bc!"],
        "merges": ["a b"],
        "token_type": [1, 1, 1, 4, 4],
    }
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf({f"tokenizer.ggml.{name}": value for name, value in section.items()}))
    with pytest.raises(MapBuildError, match="finds the second first in 'abc!'"):
        build_from_gguf(path, map_id="test/symbols")
