"""Faults that know only their place get the file and line where that place was written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from codec_agents.faults import Fault
from codec_agents.graph.base import Place
from codec_agents.graph.files.document import Document

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def located(faults: Iterable[Fault], document: Document | None) -> list[Fault]:
    """Return the faults with file and line, where the declaration was read from a text."""
    if document is None:
        return list(faults)
    return [_located(fault, document) for fault in faults]


def _located(fault: Fault, document: Document) -> Fault:
    position = document.position(_path(fault.place))
    return fault if position is None else replace(fault, file=position.file, line=position.line)


def _path(place: str) -> Place:
    """Return the path that a place names; a dot inside a name only makes the position less precise."""
    return tuple(int(index) if index else name for index, name in _STEP.findall(place))
