"""The lower bounds of dependencies, with which `make test-lower-bounds` runs the suite."""

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
