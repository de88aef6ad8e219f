"""The file of a record: private to its owner, written by one process at a time."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codec_agents.exceptions import RecordBusyError, RecordError

BINARY: int = getattr(os, "O_BINARY", 0)
"""Without it, Windows changes line ends; other systems have no such flag."""

UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""Errors of places that are there, and take no files."""

PRIVATE = 0o600
"""Read and write for the owner alone: a record holds every prompt, answer and result of a tool."""

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 2**62
    """Windows locks bytes, and keeps others from reading them: one far behind the content is locked."""

    def _lock(descriptor: int) -> None:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, position, os.SEEK_SET)

    def _make_private(descriptor: int) -> None:
        """Do nothing: a file has the access rights of its folder."""

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _make_private(descriptor: int) -> None:
        os.fchmod(descriptor, PRIVATE)


def lock(descriptor: int, path: str | Path) -> None:
    """Take the one writer's place at an open file; closing the file gives it back.

    Raises:
        RecordBusyError: Another run holds it, in this process or another one.
    """
    try:
        _lock(descriptor)
    except OSError as error:  # the lock asks without waiting, and has no other common reason to fail
        raise RecordBusyError(
            f"another run is writing the record {path}; wait for its end, or name another file"
        ) from error


def is_being_written(path: str | Path) -> bool:
    """Return true if a run, of this process or another one, writes the record now.

    Raises:
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | BINARY)
    # Trying to lock is the only way to know; the lock is held for an instant, and closing releases it.
    try:
        _lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def create(path: str | Path, sources: Iterable[str | Path] = ()) -> int:
    """Return the descriptor of an empty, private and locked file.

    Args:
        path: The file; one that exists loses its content.
        sources: Records that are read for what is written; none of them may be this file, under any name.

    Raises:
        RecordError: The file cannot be written, or is one of the sources.
        RecordBusyError: Another run is writing it.
    """
    with _opened(path) as descriptor:
        _refuse_sources(descriptor, path, sources)
        lock(descriptor, path)
        # Only now: until here the file may be a source, or the record of a run that is writing it. A device
        # (`/dev/null`) has no content, and is not this run's to make private.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            _make_private(descriptor)
            os.ftruncate(descriptor, 0)
    return descriptor


def open_locked(path: str | Path) -> int:
    """Return the descriptor of a file that keeps its content, private and locked; it is created if missing.

    Raises:
        RecordError: The file cannot be written, or is no regular file.
        RecordBusyError: Another run is writing it.
    """
    with _opened(path) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RecordError(f"{path} is not a regular file, and only in one can a run continue")
        lock(descriptor, path)
        _make_private(descriptor)  # a file that was there may be readable by others
    return descriptor


@contextmanager
def _opened(path: str | Path) -> Iterator[int]:
    """Open a file with its content, or a new one; it is closed only where the block fails.

    Raises:
        RecordError: The file cannot be opened, or the block raised an `OSError`.
    """
    # Never `O_TRUNC`: whether the file may lose its content is only known when it is open and locked.
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, PRIVATE)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield descriptor
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise


def _refuse_sources(descriptor: int, path: str | Path, sources: Iterable[str | Path]) -> None:
    """Compare files, not their names: a link of either kind is another name of the same file."""
    written = os.fstat(descriptor)
    for source in sources:
        if Path(source).exists() and os.path.samestat(written, Path(source).stat()):
            raise RecordError(f"{path} would be overwritten while it is read as {source}; name another file")


def _refused(path: str | Path, error: OSError) -> RecordError:
    where = "a folder that can be written to" if error.errno in UNWRITABLE else "an existing folder"
    return RecordError(f"cannot write the record {path}: {error.strerror or error}; name a file in {where}")


@contextmanager
def replacing(path: str | Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a path to write a file at, which becomes `path` when the block ends.

    If the block fails or the disk is full, the file that was there before is unchanged. A device or a pipe,
    which cannot be replaced, is yielded itself. Of several that replace one file, the last to end wins.

    Args:
        path: The file.
        private: Whether only its owner can read it; else it keeps the mode of the file that it replaces.

    Raises:
        OSError: The file cannot be written; `filename` is `path`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    # A link stays, and the file that it names is replaced: as writing to the link would change it.
    real = Path(os.path.realpath(path))
    # In the same folder, because a file cannot be renamed onto another disk; each writer has its own.
    part = real.with_name(f".{real.name}.{secrets.token_hex(8)}")
    try:
        kept = stat.S_IMODE(real.stat().st_mode) if real.exists() and not private else None
        new = PRIVATE if private or kept is not None else 0o666  # without what the process masks
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, new))
        yield part
        if kept is not None:  # only now: a file that may not be written has to be filled first
            part.chmod(kept)
        part.replace(real)
    except OSError as error:
        if error.errno is None:  # Arrow raises such errors: their message is all that they have
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        # Where even this is refused, nothing was written; the error that says so is on its way already.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes, *, private: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file.
        content: What it holds.
        private: Whether only its owner can read it.

    Raises:
        OSError: The file cannot be written; `filename` is its path.
    """
    with replacing(path, private=private) as part:
        part.write_bytes(content)
