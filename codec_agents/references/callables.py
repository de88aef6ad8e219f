"""Callables by reference: `module:name`, imported only from where the declaration allows.

Modules beside the pipeline file are allowed, and installed packages that the file names. The check itself
imports nothing. The standard library is never allowed: a file that names `os:system` is refused.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from codec_agents.exceptions import ReferenceRefusedError

_REFERENCE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z]\w*(\.[A-Za-z]\w*)*)")


def is_reference(text: str) -> bool:
    """Return whether a text has the form `module:name`, with no private names on the right."""
    return _REFERENCE.fullmatch(text) is not None


class Importer:
    """Resolve references under one allow-list."""

    def __init__(self, directory: str | Path | None = None, packages: Iterable[str] = ()) -> None:
        self.directory = None if directory is None else Path(directory).resolve()
        self.packages = tuple(packages)

    def check(self, reference: str) -> None:
        """Check whether a reference may be imported, without importing anything.

        Raises:
            ReferenceRefusedError: the form is wrong, or the allow-list does not have it.
        """
        self._allowed_module(reference)

    def resolve(self, reference: str) -> Any:
        """Import the object of a reference.

        Raises:
            ReferenceRefusedError: it may not be imported, does not exist, or its module fails to import.
        """
        module_name, is_local = self._allowed_module(reference)
        try:
            module = (
                self._import_local(reference, module_name)
                if is_local
                else importlib.import_module(module_name)
            )
        except ReferenceRefusedError:  # what follows is for the module's own faults
            raise
        except ModuleNotFoundError as error:
            reason = f"there is no module {error.name!r}"
            raise ReferenceRefusedError(reference, reason, "install it, or correct the name") from error
        except (Exception, SystemExit) as error:  # a program without a guard exits where it is imported
            reason = f"the module fails when imported: {type(error).__name__}: {error}"
            raise ReferenceRefusedError(reference, reason, "correct the module") from error
        return _attribute(reference, module)

    def _allowed_module(self, reference: str) -> tuple[str, bool]:
        """Return the module's name, and whether it lies beside the file."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ReferenceRefusedError(reference, "not a reference", "write `module:name`")
        module = match["module"]
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            reason = f"{top!r} is part of the standard library, which holds no tools"
            raise ReferenceRefusedError(reference, reason, "wrap what you need in a function of your own")
        # Before `imports`: what lies beside the file is what its author sees.
        if self._find_local(top) is not None:
            return module, True
        if any(module == package or module.startswith(f"{package}.") for package in self.packages):
            return module, False
        where = (
            f"beside the pipeline file in {self.directory}" if self.directory else "beside a pipeline file"
        )
        remedy = f"put {top}.py there, or add `imports: [{top}]` if it is an installed package that you trust"
        raise ReferenceRefusedError(reference, f"{top!r} is not {where} and not in `imports`", remedy)

    def _find_local(self, top: str) -> importlib.machinery.ModuleSpec | None:
        if self.directory is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(top, [str(self.directory)])
        return spec if spec is not None and spec.origin is not None else None

    def _import_local(self, reference: str, name: str) -> ModuleType:
        """Import a module that lies beside the file, under its own name.

        The folder goes to the end of `sys.path` and stays there, so that the module finds its neighbours also
        when it imports them late, and shadows nothing that is installed.
        """
        top = name.partition(".")[0]
        spec = self._find_local(top)
        assert spec is not None
        assert spec.origin is not None
        loaded = sys.modules.get(top)
        # A module that was made by hand, or that is only a namespace, has no file.
        if loaded is not None and not _is_same_file(getattr(loaded, "__file__", None), spec.origin):
            reason = (
                f"another module named {top!r} is loaded, from {getattr(loaded, '__file__', 'elsewhere')}"
            )
            raise ReferenceRefusedError(reference, reason, f"give {spec.origin} another name")
        if str(self.directory) not in sys.path:
            sys.path.append(str(self.directory))
        if loaded is None:
            _load(top, spec)
        return importlib.import_module(name)


def _load(name: str, spec: importlib.machinery.ModuleSpec) -> None:
    """Import a module from its file; one of the same name elsewhere on the path is not used."""
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    assert spec.loader is not None
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise


def _attribute(reference: str, module: ModuleType) -> Any:
    """Follow the dotted name, but never through another module: `tools:os.system` is refused."""
    found: Any = module
    name = reference.partition(":")[2]
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = ", ".join(sorted(each for each in vars(module) if not each.startswith("_"))) or "none"
            reason = f"{module.__name__!r} has no {name!r}"
            raise ReferenceRefusedError(reference, reason, f"its names are {names}") from None
        if isinstance(found, ModuleType):
            raise ReferenceRefusedError(
                reference, f"{part!r} is a module", "name a callable of the module itself"
            )
    return found


def reference_of(given: Any) -> str | None:
    """Return the reference that leads to an object, or None if none does.

    A tool made by a decorator is found under the name of the function that it wraps.
    """
    function = given if hasattr(given, "__qualname__") else getattr(given, "call", None)
    module_name, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    # In another process another program is the main module.
    if module_name in (None, "__main__") or name is None or not is_reference(f"{module_name}:{name}"):
        return None
    found: Any = sys.modules.get(str(module_name))
    for part in name.split("."):
        found = getattr(found, part, None)
    # A name may lead to something else by now, such as another function that was defined under it.
    return f"{module_name}:{name}" if found is given else None


def _is_same_file(first: str | None, second: str) -> bool:
    """Compare files, not their names: a linked file is the same module."""
    return first is not None and os.path.exists(first) and os.path.samefile(first, second)  # noqa: PTH110, PTH121
