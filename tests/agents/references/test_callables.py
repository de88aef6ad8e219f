"""Callables by reference, under an allow-list."""

import sys

import pytest

from codec_agents.exceptions import ReferenceRefusedError
from codec_agents.references.callables import Importer, is_reference, reference_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with modules beside a pipeline file; what they load is forgotten afterwards."""
    (tmp_path / "beside_tools.py").write_text(
        "import os\nfrom beside_neighbour import twice\n"
        "class Desk:\n    @staticmethod\n    def fares(): return 7\n"
        "def _private(): ...\n"
    )
    (tmp_path / "beside_neighbour.py").write_text("def twice(x): return 2 * x\n")
    (tmp_path / "beside_broken.py").write_text("raise RuntimeError('on fire')\n")
    (tmp_path / "beside_program.py").write_text("raise SystemExit(2)\n")
    (tmp_path / "beside_marker.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("beside_")]:
        del sys.modules[name]


def test_a_module_beside_the_file_is_imported(folder):
    importer = Importer(folder)
    assert importer.resolve("beside_tools:Desk.fares")() == 7
    assert importer.resolve("beside_tools:twice")(4) == 8
    assert importer.resolve("beside_neighbour:twice") is importer.resolve("beside_tools:twice")


def test_the_folder_shadows_nothing(folder):
    Importer(folder).resolve("beside_tools:twice")
    import json

    assert json.loads("1") == 1
    assert sys.path[-1] == str(folder)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("os:system", "standard library"),
        ("subprocess:run", "standard library"),
        ("json:loads", "standard library"),
        ("yaml:safe_load", "not in `imports`"),
        ("nowhere:name", "not in `imports`"),
        ("beside_tools:os.system", "'os' is a module"),
        ("beside_tools:missing", "has no 'missing'"),
        ("beside_tools:_private", "not a reference"),
        ("beside_tools:Desk.__class__", "not a reference"),
        ("beside_tools", "not a reference"),
        ("../beside_tools:twice", "not a reference"),
        (".beside_tools:twice", "not a reference"),
        ("beside_tools:twice()", "not a reference"),
        ("beside_broken:name", "RuntimeError: on fire"),
        ("beside_program:name", "SystemExit: 2"),
    ],
)
def test_everything_else_is_refused(folder, reference, reason):
    with pytest.raises(ReferenceRefusedError) as caught:
        Importer(folder).resolve(reference)
    assert reason in str(caught.value)
    assert caught.value.remedy


def test_a_check_imports_nothing(folder):
    Importer(folder).check("beside_marker:name")
    with pytest.raises(ReferenceRefusedError):
        Importer(folder).check("yaml:safe_load")
    assert not (folder / "ran").exists()


def test_installed_packages_are_imported_when_they_are_named():
    import yaml

    assert Importer(packages=["yaml"]).resolve("yaml:safe_load") is yaml.safe_load
    assert Importer(packages=["yaml.nodes"]).resolve("yaml.nodes:Node") is yaml.nodes.Node
    with pytest.raises(ReferenceRefusedError):
        Importer(packages=["yaml.nodes"]).resolve("yaml:safe_load")
    with pytest.raises(ReferenceRefusedError, match="there is no module"):
        Importer(packages=["not_installed_at_all"]).resolve("not_installed_at_all:x")


def test_a_named_package_of_the_standard_library_is_still_refused():
    with pytest.raises(ReferenceRefusedError, match="standard library"):
        Importer(packages=["os"]).resolve("os:system")


def test_two_modules_of_one_name_are_not_confused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "beside_tools.py").write_text("def twice(x): return 0\n")
    Importer(folder).resolve("beside_tools:twice")
    with pytest.raises(ReferenceRefusedError, match="another module named 'beside_tools' is loaded"):
        Importer(other).resolve("beside_tools:twice")


def test_a_module_that_failed_is_tried_again(folder):
    with pytest.raises(ReferenceRefusedError):
        Importer(folder).resolve("beside_broken:name")
    (folder / "beside_broken.py").write_text("name = 1  # put right\n")
    assert Importer(folder).resolve("beside_broken:name") == 1


def test_reference_of_an_object():
    assert reference_of(Importer) == "codec_agents.references.callables:Importer"
    assert reference_of(Importer.resolve) == "codec_agents.references.callables:Importer.resolve"
    assert reference_of(lambda: 1) is None
    assert reference_of(object()) is None
    assert is_reference("a.b:C.d")
    assert not is_reference("a:b:c")
    assert not is_reference("a:b\n")
