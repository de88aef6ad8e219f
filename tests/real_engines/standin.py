"""Stands in for a package that is built for GPUs: it can be imported, and its names too, and no more.

Copied as the `__init__.py` of the package. A name is a class whose attributes are such classes again, so that
code can inherit from it, decorate with it and compare with it; calling a function of a kernel is an error.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

__version__ = "0.28.0"
_KERNELS = "sgl_kernel"
_PLAIN = ("ScalarType", "scalar_types")
"""Values rather than kernels, made while modules are imported."""


class _Names(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(cls.__module__, name)


def _absent(module: str, name: str) -> Any:
    """Return the class that stands for a name of a module."""

    def made(self: object, *args: object, **options: object) -> None:
        if module.startswith(_KERNELS) and name not in _PLAIN:
            raise NotImplementedError(f"{module}.{name} is a kernel for GPUs")

    def passed_on(self: object, *args: Any, **options: object) -> Any:
        return args[0] if args else self

    members = {"__module__": module, "__init__": made, "__call__": passed_on}
    return _Names(name, (), members)


def _attribute_of(module: str) -> Any:
    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(module, name)

    return find


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds any module within the package."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.startswith(f"{__name__}."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = _attribute_of(module.__name__)  # type: ignore[method-assign]


sys.meta_path.append(_Finder())
__getattr__ = _attribute_of(__name__)
