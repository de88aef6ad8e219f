"""Where the values of inputs come from."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest

from codec_agents.cli.inputs import parse_inputs


def test_values_as_they_stand() -> None:
    assert parse_inputs(["a=b=c", "empty="]) == {"a": "b=c", "empty": ""}


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("Grüße\n", encoding="utf-8")
    assert parse_inputs([f"a=@{tmp_path / 'q.txt'}"]) == {"a": "Grüße\n"}


def test_a_value_that_begins_with_the_sign_of_a_file() -> None:
    assert parse_inputs(["a=@@home"]) == {"a": "@home"}


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\n".encode())))
    assert parse_inputs(["a=-"]) == {"a": "é"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["novalue"], "not name=value"),
        (["=x"], "not name=value"),
        (["a=1", "a=2"], "given twice"),
        (["a=@/no/such/file"], "cannot read"),
    ],
)
def test_what_is_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        parse_inputs(pairs)


def test_a_byte_order_mark_is_no_part_of_a_files_text(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_bytes(b"\xef\xbb\xbfhello")
    assert parse_inputs([f"q=@{tmp_path / 'q.txt'}"]) == {"q": "hello"}


def test_binary_standard_input_is_refused_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    with pytest.raises(click.BadParameter, match="standard input: byte 2 is not UTF-8"):
        parse_inputs(["q=-"])
