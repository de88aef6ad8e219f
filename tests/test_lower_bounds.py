"""The lower bounds of dependencies, with which `make test-lower-bounds` runs the suite."""

import re
from pathlib import Path

from tests.lower_bounds import declared, lower_bound, main


def test_every_dependency_has_a_lower_bound() -> None:
    without = [
        f"{part or 'base'}: {each}"
        for part, requirements in declared().items()
        for each in requirements
        if lower_bound(each) is None
    ]
    assert without == []


def test_each_package_is_held_at_its_lower_bound(capsys) -> None:
    main(["aiohttp"])
    lines = capsys.readouterr().out.splitlines()
    [aiohttp] = declared()["aiohttp"]
    assert f"aiohttp=={lower_bound(aiohttp)}" in lines
    assert len(lines) == len(declared()[""]) + 1


def test_the_locked_versions_are_allowed() -> None:
    lock = (Path(__file__).parents[1] / "requirements" / "ci.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^ \\;]+)", lock, re.MULTILINE))
    parts = ("", "aiohttp", "compression", "mcp", "server", "templates", "test", "lint")
    required = [each for part in parts for each in declared()[part]]
    assert [str(each) for each in required if not each.specifier.contains(pins[each.name.lower()])] == []
