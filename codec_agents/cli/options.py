"""Options and arguments that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline


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


pipeline_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")


def load(path: Path) -> Pipeline:
    """Read a pipeline from its file.

    Raises:
        PipelineError: with every fault of the declaration.
    """
    from codec_agents.pipeline import Pipeline

    return Pipeline.from_yaml(path)
