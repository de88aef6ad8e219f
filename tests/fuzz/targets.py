"""The targets, by name: each is a module with `seeds()` and `check(data)`."""

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

TARGETS = ("wire", "maps", "builders", "records", "bodies", "regions")
CORPUS = Path(__file__).with_name("corpus")


def load(name):
    """Return a target; the seeds of the wire have a module of their own."""
    module = import_module(f"tests.fuzz.{name}")
    seeds = import_module("tests.fuzz.wire_seeds").seeds if name == "wire" else module.seeds
    return SimpleNamespace(check=module.check, seeds=seeds)
