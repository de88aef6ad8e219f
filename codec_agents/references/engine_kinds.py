"""Kinds of engines that installed packages add."""

from __future__ import annotations

from importlib.metadata import entry_points

ENTRY_POINTS = f"{__name__.partition('.')[0]}.engines"
"""The group of entry points in which packages add kinds of engines, this package too: `embedded` is a server,
which is a layer above engines and must not be named there. A class takes what `make_engine` gives to the
engines that are reached by a URL."""


def is_installed_kind(kind: str) -> bool:
    """Return whether an installed package adds an engine of this kind."""
    return bool(entry_points(group=ENTRY_POINTS, name=kind))
