"""Objects that a Python program gives in place of names: they stand beside the declaration, not in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from codec_agents.faults import Fault
from codec_agents.references.callables import reference_of


class LiveEngine(Protocol):
    """An engine given as an object; `codec_agents.engines.base.Engine` is the whole contract."""

    name: str
    """Its name in the pipeline."""

    def stream(self, request: Any) -> AbstractAsyncContextManager[Any]:
        """Send a request; leaving the context closes it."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(slots=True)
class LiveObjects:
    """Engines, maps and callables by the names under which the declaration knows them."""

    engines: dict[str, Any] = field(default_factory=dict)
    """`Engine` objects, by the name of their engine."""
    maps: dict[str, Any] = field(default_factory=dict)
    """`TokenizerMap` objects, by the name of their map."""
    callables: dict[str, Any] = field(default_factory=dict)
    """Functions and `Tool` objects, by reference."""
    scripts: dict[str, Any] = field(default_factory=dict)
    """Scripts, by the name of their engine. A script's own name may be shared, or be an answer's text."""
    nested: dict[str, LiveObjects] = field(default_factory=dict)
    """Those of the pipelines inside nodes."""

    def within(self, node: str, *, engines: Collection[str] = (), maps: Collection[str] = ()) -> LiveObjects:
        """Return the objects that the pipeline inside a node sees: its own, then those around it.

        Args:
            node: the node.
            engines: the engines that the pipeline inside declares; objects of these names around it are not
                meant.
            maps: the same for its maps.
        """
        # A body that came from a file, or as a value, has no live objects.
        inner = self.nested.get(node, LiveObjects())
        return LiveObjects(
            {**_without(engines, self.engines), **inner.engines},
            {**_without(maps, self.maps), **inner.maps},
            # The inner ones win: a short name is unique only inside its own pipeline.
            {**self.callables, **inner.callables},
            {**_without(engines, self.scripts), **inner.scripts},
            inner.nested,
        )

    def reference(self, given: str | Callable[..., Any] | None) -> str | None:
        """Return a reference as it is, and the one of a callable, which is kept."""
        return given if given is None or isinstance(given, str) else self.add_callable(given)

    def add_callable(self, given: Callable[..., Any] | Any) -> str:
        """Keep a callable; return the reference by which the declaration names it.

        One that can be imported is named by its import path; any other gets a name that no file can hold.
        """
        reference = reference_of(given) or unique(_short_name(given), self.callables, given)
        self.callables[reference] = given
        return reference

    def add_script(self, engine: str, script: Callable[..., Any]) -> str:
        """Keep the script of an engine; return the reference or the name that its declaration shows."""
        self.scripts[engine] = script
        return reference_of(script) or _short_name(script)

    def unwritable(self, place: str = "") -> list[Fault]:
        """Return a fault for each object that a file cannot name; a map is named by its id and hash."""
        faults = [
            Fault(f"{place}engines.{name}", "a live engine object", "declare an EngineSpec in its place")
            for name in self.engines
        ]
        faults += [
            Fault(
                f"{place}{name}",
                "a callable that cannot be imported by name",
                "define it at the top level of a module",
            )
            for name in self._unnamed()
        ]
        for node, nested in self.nested.items():
            faults += nested.unwritable(f"{place}nodes.{node}.body.")
        return faults

    def _unnamed(self) -> Iterator[str]:
        yield from (name for name in self.callables if ":" not in name)
        for engine, script in self.scripts.items():
            if reference_of(script) is None:
                yield f"engines.{engine}.script"


def _without(names: Collection[str], objects: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in objects.items() if name not in names}


def unique(name: str, taken: dict[str, Any], owner: Any) -> str:
    """Return the name, with a number if another object has it already."""
    candidate, number = name, 2
    while candidate in taken and taken[candidate] is not owner:
        candidate = f"{name}_{number}"
        number += 1
    return candidate


def _short_name(given: Any) -> str:
    name = getattr(given, "name", None) or getattr(given, "__name__", None) or type(given).__name__
    return re.sub(r"\W", "_", str(name))
