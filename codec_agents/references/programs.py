"""Programs that a declaration may start: the command of an MCP server under one allow-list.

A pipeline file may start programs beside it, and those that it names in `programs`, where a reader of the
file sees them. No shell is involved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from codec_agents.exceptions import ReferenceRefusedError
from codec_agents.references.callables import Importer

PYTHON = "python"
"""The name of the interpreter that runs the pipeline, which has the pipeline's packages."""


def allowed_command(command: Sequence[str], programs: Sequence[str], importer: Importer) -> list[str]:
    """Return the command to start.

    Raises:
        ReferenceRefusedError: neither the folder of the file nor `programs` has the program.
    """
    program, *arguments = command
    beside = _file_beside(importer.directory, program)
    if program == PYTHON and _is_own_script(arguments, importer):
        return [sys.executable, *arguments]
    if program in programs:
        return [sys.executable if program == PYTHON else program, *arguments]
    # `python` is the interpreter, also where a file has the name.
    if beside is not None and program != PYTHON:
        return [str(beside), *arguments]
    if program == PYTHON and arguments and _is_missing(importer.directory, arguments[0]):
        raise ReferenceRefusedError(
            arguments[0],
            f"no such script in {importer.directory}, the folder of the pipeline file",
            f"put it there, or add `programs: [{PYTHON}]` if you trust a script elsewhere",
        )
    if program == PYTHON and len(arguments) > 1 and arguments[0] == "-m":
        # The module's own refusal names the folder and the list that would allow it.
        importer.check(f"{arguments[1]}:main")
    where = f"beside the pipeline file in {importer.directory}" if importer.directory else "beside a file"
    raise ReferenceRefusedError(
        program,
        f"the program is not {where} and not in `programs`",
        f"add `programs: [{program}]` if you trust it",
    )


def _is_own_script(arguments: Sequence[str], importer: Importer) -> bool:
    """Return whether Python's arguments name a script beside the file, or a module that may be imported."""
    if len(arguments) > 1 and arguments[0] == "-m":
        try:
            importer.check(f"{arguments[1]}:main")
        except ReferenceRefusedError:
            return False
        return True
    return bool(arguments) and _file_beside(importer.directory, arguments[0]) is not None


def _file_beside(directory: Path | None, name: str) -> Path | None:
    if directory is None:
        return None
    path = (directory / name).resolve()
    return path if path.is_file() and path.is_relative_to(directory) else None


def _is_missing(directory: Path | None, name: str) -> bool:
    """Return whether a name is that of a script in the folder, which has none of this name."""
    if directory is None or not name.endswith(".py"):
        return False
    path = (directory / name).resolve()
    return path.is_relative_to(directory) and not path.exists()
