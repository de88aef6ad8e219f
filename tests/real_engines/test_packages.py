"""Packages for real engines: what cannot be fetched is a reason to skip; what is not used is not fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.real_engines.packages import fetched, run, write_empty_wheel
from tests.real_engines.places import UnavailableError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEC_REAL_ENGINES", str(tmp_path / "cache"))


def test_without_a_network_an_engine_is_unavailable_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for _ in range(2):
        with pytest.raises(UnavailableError, match="engine cannot be fetched"):
            fetched("engine", "no-such-package==1.0")


@pytest.mark.parametrize(("version", "wanted"), [("9999", ">=4.13"), ("4.13+unused", "==4.13")])
def test_an_empty_package_takes_the_place_of_one_that_is_not_used(
    tmp_path: Path, version: str, wanted: str
) -> None:
    wheels, target = tmp_path / "wheels", tmp_path / "installed"
    wheels.mkdir()
    write_empty_wheel(wheels, "opencv-python-headless", version)
    offline = ("--no-index", "--find-links", wheels, "--target", target)
    run(sys.executable, "-m", "pip", "install", "--quiet", *offline, f"opencv-python-headless{wanted}")
    assert [path.name for path in target.iterdir()] == [f"opencv_python_headless-{version}.dist-info"]


def test_a_command_that_takes_too_long_is_said() -> None:
    with pytest.raises(RuntimeError, match="took more than 1 s"):
        run(sys.executable, "-c", "import time; time.sleep(600)", seconds=1.0)
