"""How the project is built, tested and entered: what its files say of each other holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text_of(name: str) -> str:
    """Return the text of a file that a checkout has, and a source distribution may lack."""
    path = REPOSITORY / name
    if not path.exists():
        pytest.skip(f"a source distribution has no {name}")
    return path.read_text(encoding="utf-8")


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]
    return found


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_ci_runs_every_version_that_is_declared_on_linux_and_macos() -> None:
    declared = set(re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"])))
    versions, whole = jobs()["versions"], jobs()["whole"]
    matrix = versions["strategy"]["matrix"]
    assert set(matrix["python"]) == declared == {"3.11", "3.12", "3.13", "3.14"}
    assert set(matrix["os"]) == {"ubuntu-latest", "macos-latest"}
    assert commands(versions) == [".ci/run quick"]
    # The one that the matrix leaves out.
    assert matrix["exclude"] == [{"os": whole["runs-on"], "python": "3.11"}]
    assert commands(whole) == [".ci/run"]


def test_ci_tries_import_maps_and_clients_on_windows() -> None:
    lines = "\n".join(commands(jobs()["windows"]))
    assert "import codec_core, codec_agents" in lines
    folders = re.findall(r"tests/[\w/.]+", lines)
    assert {"tests/core", "tests/agents/engines"} <= set(folders)
    for each in folders:
        assert (REPOSITORY / each).exists(), each


def test_what_ci_and_the_hooks_call_is_there() -> None:
    script = text_of(".ci/run")
    called = re.findall(r"^step make ([a-z-]+)", script, re.MULTILINE)
    called += re.findall(
        r"make ([a-z-]+)", "\n".join(line for job in jobs().values() for line in commands(job))
    )
    assert {"lint", "docs", "test", "test-slow", "coverage", "release", "test-lower-bounds"} <= set(called)
    assert set(called) <= TARGETS
    # Before the tests: those of the trace page need it.
    assert script.index("step install_chromium") < script.index("step make test")
    (hooks,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert [hook["id"] for hook in hooks["hooks"]] == ["ruff", "ruff-format", "mypy", "layout"]
    for path in re.findall(r"tests/\w+\.py", str(hooks)):
        assert (REPOSITORY / path).is_file(), path


def recipe(target: str) -> str:
    """Return the lines of a target of the Makefile."""
    return re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[0]


def test_types_coverage_and_pages_have_a_bound_that_fails() -> None:
    assert "-m tests.typing" in recipe("lint")
    assert "--fail-under=$(COVERAGE_FLOOR)" in recipe("coverage")
    assert int(re.findall(r"^COVERAGE_FLOOR := (\d+)$", MAKEFILE, re.MULTILINE)[0]) >= 90
    assert re.search(r"^strict: true$", text_of("mkdocs.yml"), re.MULTILINE)
    assert "codec-agents demo" in recipe("release"), "the wheel runs the demo alone"


def test_the_files_of_the_contributing_page_are_there() -> None:
    page = text_of("CONTRIBUTING.md")
    assert set(re.findall(r"`make ([a-z-]+)", page)) <= TARGETS
    for kind in ("an engine", "a model family", "a kind of node", "a format of tokenizer files"):
        assert f"\n## To add {kind}\n" in page
    named = re.findall(r"`([\w./-]+(?:\.(?:py|md|yaml|json|toml)|/))`", page)
    assert len(named) > 30
    # A name may leave out the package, or the folder of one before it.
    roots = [REPOSITORY, REPOSITORY / "codec_agents", REPOSITORY / "codec_core"]
    for each in named:
        if "NAME" in each:
            continue
        found = next((root / each for root in roots if (root / each).exists()), None)
        assert found is not None, each
        roots.append(found.parent)


def test_the_readme_begins_with_what_a_newcomer_needs() -> None:
    """An install, a picture, what is gained with the commands that print it; a clone comes late."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    install, picture = text.index("pip install"), text.index("](docs/screenshots/")
    gained, clone = text.index("\n## What you gain\n"), text.index("\n## In a clone\n")
    assert install < picture < gained < clone < text.index("\n## Documentation\n")
    told = text[gained : text.index("\n## Try it\n")]
    for figure in re.findall(r"\*\*(?:Time|CPU time)\.\*\*.*?(?=\n\n\*\*|\Z)", told, re.DOTALL):
        assert re.search(r"`python (-m )?[\w./]+[^`]*`", figure), (
            "figures come with the command that prints them"
        )
    for command in re.findall(r"`python ([\w./]+\.py)`", told):
        assert (REPOSITORY / command).is_file()
    for name in re.findall(r"`python -m tests\.benchmarks (\w+)`", told):
        assert (REPOSITORY / "tests" / "benchmarks" / f"{name}.py").is_file()


HOW_TO = sorted((REPOSITORY / "docs" / "how-to").glob("*.md"))
RECIPES = ("extend.md", "shapes.md", "test.md")
"""The pages of which every section answers a question of its own."""


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.name)
def test_each_question_of_a_newcomer_has_a_program(page: Path) -> None:
    """`test_docs.py` runs all of them."""
    text = page.read_text(encoding="utf-8")
    answers = text.split("\n## ")[1:] if page.name in RECIPES else [text]
    assert answers
    for each in answers:
        assert "\n```python\n" in each, each.partition("\n")[0]


def test_the_pages_of_recipes_are_there() -> None:
    assert {*RECIPES} <= {page.name for page in HOW_TO}
