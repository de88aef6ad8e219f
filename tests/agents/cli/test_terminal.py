"""What reaches the terminal is safe and readable."""

from __future__ import annotations

import io
from collections.abc import Iterator

import click
import pytest

from codec_agents.cli import main, terminal


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


def described(group: click.Group, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each command of a group, and its line in the help on a terminal of 80 columns."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield f"{path}{name}", found.get_short_help_str(limit=65)
        if isinstance(found, click.Group):
            yield from described(found, f"{path}{name} ")


def test_no_line_of_the_help_is_cut() -> None:
    assert [name for name, line in described(main) if line.endswith("...")] == []
