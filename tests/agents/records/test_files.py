"""The file of a record: one writer, private, never its own source, on the disk where that is asked for."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from codec_agents.cli.exits import message_of
from codec_agents.exceptions import RecordError
from codec_agents.records import writer
from codec_agents.records.files import replacing, write_whole
from codec_agents.records.reader import read_record
from tests.agents.recorded_runs import desk

pytestmark = pytest.mark.anyio


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_record_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    old.write_text("x" * 10_000)
    old.chmod(0o644)
    for path in (new, old):
        await desk().invoke({"q": "go"}, record=path)
        assert mode(path) == 0o600
        assert read_record(path).complete


async def test_a_second_run_on_the_same_file_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with desk().run({"q": "go"}, record=path) as run:
        (tmp_path / "other.jsonl").symlink_to(path)
        for name in ("run.jsonl", "other.jsonl"):
            with pytest.raises(RecordError, match="another run is writing the record"):
                desk().run({"q": "go"}, record=tmp_path / name)
        result = await run.wait()
    assert read_record(path).texts() == result.text
    await desk().invoke({"q": "again"}, record=path)
    assert read_record(path).inputs == {"q": "again"}


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
async def test_a_record_is_never_written_onto_its_source_through_a_link(link: str, tmp_path: Path) -> None:
    path, other = tmp_path / "run.jsonl", tmp_path / "other.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    getattr(other, link)(path)
    before = path.read_bytes()
    for source in (path, read_record(path)):
        for start in (desk().replay, desk().recover):
            with pytest.raises(RecordError, match="would be overwritten"):
                start(source, record=other)
    assert path.read_bytes() == before


async def test_durability_disk_flushes_each_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    fsync = os.fsync

    def counting(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(writer.os, "fsync", counting)
    await desk().invoke({"q": "go"}, record=tmp_path / "os.jsonl")
    assert flushed == []
    path = tmp_path / "disk.jsonl"
    await desk().invoke({"q": "go"}, record=path, durability="disk")
    sizes = [len(line) for line in path.read_bytes().splitlines(keepends=True)]
    assert flushed == [sum(sizes[: number + 1]) for number in range(len(sizes))]


async def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    wrong: Any = "tape"
    with pytest.raises(RecordError, match="'os' or 'disk'"):
        desk().run({"q": "go"}, record=tmp_path / "run.jsonl", durability=wrong)
    assert not (tmp_path / "run.jsonl").exists()


async def test_a_durability_without_a_record_is_refused() -> None:
    with pytest.raises(RecordError, match="give `record`, too"):
        desk().run({"q": "go"}, durability="disk")


async def test_a_lone_surrogate_is_written_as_a_replacement_character(tmp_path: Path) -> None:
    def tool(number: int) -> str:
        """Look."""
        return f"{number} \ud800"

    tool.__name__ = "look"
    path = tmp_path / "run.jsonl"
    await desk(tools=[tool]).invoke({"q": "go"}, record=path)
    told = [attempt["told"] for turn in read_record(path).turns for attempt in turn.tools]
    assert told == ["1 \ufffd", "2 \ufffd"]


# --- files that are replaced whole ---


def test_a_file_is_replaced_when_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def fail(error: Exception) -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())
    with pytest.raises(OSError, match="No space left") as full:
        fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert full.value.filename == str(path)
    assert (path.read_text(), [file.name for file in tmp_path.iterdir()]) == ("before", ["out.csv"])
    with replacing(path, private=True) as part, part.open("w") as file:
        file.write("after")
    assert (path.read_text(), mode(path)) == ("after", 0o600)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    for kept in (0o600, 0o440, 0o664):
        path.touch()
        path.chmod(kept)
        write_whole(path, b"after")
        assert (path.read_bytes(), mode(path)) == (b"after", kept)
    path.unlink()
    mask = os.umask(0o027)
    try:
        write_whole(path, b"new")
    finally:
        os.umask(mask)
    assert mode(path) == 0o640


def test_two_of_one_process_replace_a_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert (path.read_text(), [file.name for file in tmp_path.iterdir()]) == ("first", ["out.csv"])


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    file, link = tmp_path / "kept" / "out.csv", tmp_path / "out.csv"
    file.write_text("before")
    link.symlink_to(file)
    write_whole(link, b"after", private=True)
    assert (link.is_symlink(), file.read_text(), mode(file)) == (True, "after", 0o600)


def test_a_device_is_written_to_and_not_replaced() -> None:
    with replacing(os.devnull) as part:
        assert part == Path(os.devnull)


def test_a_read_only_file_system_is_named_with_the_file_and_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any, *_arguments: Any, **_options: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)  # such a system refuses this too, of a file that is not there
    with pytest.raises(OSError, match="Read-only") as caught:
        write_whole(tmp_path / "page.html", b"x")
    assert caught.value.filename == str(tmp_path / "page.html")
    assert message_of(caught.value).endswith("Read-only file system; write to another place")
    with pytest.raises(RecordError, match="name a file in a folder that can be written to"):
        desk().run({"q": "go"}, record=tmp_path / "run.jsonl")
