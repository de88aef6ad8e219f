"""Options and arguments that several commands have."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec_agents.faults import MAX_COMPARED
from codec_agents.references.missing_files import searched

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline


YAML = (".yaml", ".yml")
"""The endings of the files that `init` and people write pipelines into."""

JSON_LINES = (".jsonl",)
"""The ending that the pages give to records; any other can be read as well."""


class Number(click.FloatRange):
    """A finite number in a range. No comparison with NaN holds, so click finds it in any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number.

        Raises:
            click.BadParameter: it is none, outside of the range, infinite, or NaN.
        """
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class ExistingPath(click.Path):
    """A path of something that exists. The error names the folder that was searched, and what is there."""

    def __init__(
        self, *, endings: Collection[str] = (), dir_okay: bool = False, file_okay: bool = True
    ) -> None:
        """Declare a path.

        Args:
            endings: those of the files that are meant, to name one of them where a folder was given.
            dir_okay: whether it may be a folder.
            file_okay: whether it may be a file.
        """
        self._endings = endings
        super().__init__(exists=True, dir_okay=dir_okay, file_okay=file_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            click.BadParameter: nothing is there, or something of another kind.
        """
        # What is there and cannot be looked at, or read, click names itself.
        try:
            missing, is_folder = not Path(value).exists(), Path(value).is_dir()
        except (OSError, ValueError):
            missing = is_folder = False
        if is_folder and not self.dir_okay:
            self.fail(
                f"{str(value)!r} is a folder; name a file in it{self._such_as(Path(value))}", param, ctx
            )
        if missing:
            self.fail(
                f"{self.name.capitalize()} {str(value)!r} does not exist{_searched(Path(value))}", param, ctx
            )
        return super().convert(value, param, ctx)

    def _such_as(self, folder: Path) -> str:
        """Name the first file of a folder that can be meant; nothing if it has none, or cannot be read."""
        try:
            found = sorted(
                path for path in islice(folder.iterdir(), MAX_COMPARED) if path.suffix in self._endings
            )
        except OSError:
            found = []
        return f", such as {str(found[0])!r}" if found else ""


def _searched(path: Path) -> str:
    place = searched(path)
    return place if place.endswith("?") else f"{place}."


PIPELINE = ExistingPath(endings=YAML)
RECORD = ExistingPath(endings=JSON_LINES)

pipeline_file = click.argument("file", type=PIPELINE)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")


def load(path: Path) -> Pipeline:
    """Read a pipeline from its file.

    Raises:
        PipelineError: with every fault of the declaration.
    """
    from codec_agents.pipeline import Pipeline

    return Pipeline.from_yaml(path)
