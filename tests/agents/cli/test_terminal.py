"""What reaches the terminal is safe and readable."""

from __future__ import annotations

import io

import pytest

from codec_agents.cli import terminal


def test_models_cannot_control_the_terminal() -> None:
    assert terminal.escape("a\x1b[2Jb\x07\x9bc\r\nd\te") == r"a\x1b[2Jb\x07\x9bc" + "\nd\te"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0000123, "12 us"), (0.0345, "34.5 ms"), (0.345, "345 ms"), (12.3456, "12.35 s")],
)
def test_durations(value: float | None, text: str) -> None:
    assert terminal.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")])
def test_sizes(value: float, text: str) -> None:
    assert terminal.size(value) == text


def test_signs_that_the_encoding_lacks_are_spelled() -> None:
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert terminal.glyphs(terminal.new_console(plain)).arrow == "->"


def test_what_the_encoding_lacks_does_not_end_the_run() -> None:
    written = io.BytesIO()
    plain = io.TextIOWrapper(written, encoding="ascii")
    terminal.new_console(plain).print("€96")
    plain.flush()
    assert written.getvalue() == b"?96\n"
