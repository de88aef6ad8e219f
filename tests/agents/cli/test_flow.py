"""Text written piece by piece comes out as if it had been written at once."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from codec_agents.cli.terminal.flow import Flow


def written(*pieces: str, width: int = 20) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    flow = Flow(console, "| ", width, "")
    for piece in pieces:
        flow.write(piece)
    flow.end()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_break_at_words_behind_the_gutter() -> None:
    assert written("the quick brown fox jumps") == "| the quick brown\n| fox jumps\n"


def test_line_ends_are_kept() -> None:
    assert written("a\n\nb") == "| a\n| \n| b\n"


def test_a_word_longer_than_the_line_is_cut() -> None:
    assert written("x" * 40) == f"| {'x' * 18}\n| {'x' * 18}\n| {'x' * 4}\n"


def test_wide_characters_count_twice() -> None:
    assert written("漢" * 10) == f"| {'漢' * 9}\n| 漢\n"


def test_nothing_written_leaves_nothing() -> None:
    assert written() == ""


@pytest.mark.parametrize("width", [20, 33])
@given(text=st.text(alphabet="ab  \n", max_size=80), cut=st.integers(0, 80))
def test_how_it_is_cut_does_not_matter(width: int, text: str, cut: int) -> None:
    assert written(text, width=width) == written(text[:cut], text[cut:], width=width)


@given(text=st.text(alphabet="ab  \n漢é", max_size=80), cut=st.integers(0, 80))
def test_scripts_without_spaces_lose_nothing_however_they_are_cut(text: str, cut: int) -> None:
    found = written(text[:cut], text[cut:]).replace("|", "")
    assert "".join(found.split()) == "".join(text.split())
