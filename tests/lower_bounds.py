"""Print the lowest versions that pyproject.toml allows: `python -m tests.lower_bounds PART...`.

An installer that gets them as constraints installs exactly these, or says which package needs a higher one.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

OWN = "codec-agents"


def declared() -> dict[str, list[Requirement]]:
    """Return the requirements of the base install, of extras and of groups, without other groups."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    parts = {"": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    parts |= project["dependency-groups"]
    return {name: list(_required(lines)) for name, lines in parts.items()}


def _required(lines: list[Any]) -> Iterator[Requirement]:
    for line in lines:
        # A group may include another one, and an extra of this project another extra.
        if isinstance(line, str) and (found := Requirement(line)).name != OWN:
            yield found


def lower_bound(requirement: Requirement) -> str | None:
    """Return the lowest version that a requirement allows; None if it allows any."""
    return next((each.version for each in requirement.specifier if each.operator == ">="), None)


def main(parts: list[str]) -> None:
    """Print a line for each package of the base install and of the given extras and groups."""
    known = declared()
    for part in ("", *parts):
        for each in known[part]:
            print(f"{each.name}=={lower_bound(each)}")


if __name__ == "__main__":
    main(sys.argv[1:])
