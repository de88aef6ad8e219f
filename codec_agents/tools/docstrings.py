"""Read the parameters that a docstring describes, in Google, NumPy or Sphinx style."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Documented:
    """What a docstring says.

    Fields:
        text: everything before the first section.
        parameters: descriptions by name.
    """

    text: str
    parameters: dict[str, str]


_SECTIONS = r"args|arguments|parameters|params|keyword args|keyword arguments|other parameters"
_OTHERS = r"returns?|raises?|yields?|examples?|notes?|warnings?|see also|references|attributes|todo"
_GOOGLE = re.compile(rf"^(?:({_SECTIONS})|{_OTHERS}):\s*$", re.IGNORECASE)
_NUMPY = re.compile(rf"^(?:({_SECTIONS})|{_OTHERS})\s*$", re.IGNORECASE)
_UNDERLINE = re.compile(r"^-{3,}\s*$")
_GOOGLE_ITEM = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:(?:param|parameter|arg|argument)\s+(?:[^:]*?\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_SPHINX_ANY = re.compile(r"^:\w+[^:]*:")


def read_docstring(docstring: str) -> Documented:
    """Return the text and the described parameters of a docstring that was cleaned of its indentation."""
    lines = docstring.splitlines()
    first = next((place for place in range(len(lines)) if _begins_section(lines, place)), len(lines))
    text = "\n".join(lines[:first]).strip()
    return Documented(text, dict(_parameters(lines[first:])))


def _begins_section(lines: list[str], place: int) -> bool:
    line = lines[place]
    return bool(_GOOGLE.match(line) or _SPHINX_ANY.match(line) or _is_numpy_title(lines, place))


def _is_numpy_title(lines: list[str], place: int) -> bool:
    following = lines[place + 1] if place + 1 < len(lines) else ""
    return bool(_NUMPY.match(lines[place]) and _UNDERLINE.match(following))


def _parameters(lines: list[str]) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(lines):
        if sphinx := _SPHINX.match(lines[place]):
            more, place = _indented(lines, place + 1)
            yield sphinx[1], _joined([sphinx[2], *more])
        elif (google := _GOOGLE.match(lines[place])) and google[1]:
            body, place = _indented(lines, place + 1)
            yield from _items(body, _GOOGLE_ITEM)
        elif _is_numpy_title(lines, place) and (numpy := _NUMPY.match(lines[place])) and numpy[1]:
            body, place = _until_title(lines, place + 2)
            yield from _items(body, _NUMPY_ITEM)
        else:
            place += 1


def _indented(lines: list[str], place: int) -> tuple[list[str], int]:
    body = []
    while place < len(lines) and (not lines[place].strip() or lines[place][0].isspace()):
        body.append(lines[place])
        place += 1
    return body, place


def _until_title(lines: list[str], place: int) -> tuple[list[str], int]:
    body = []
    while place < len(lines) and not _is_numpy_title(lines, place):
        body.append(lines[place])
        place += 1
    return body, place


def _items(lines: list[str], item: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield name and description; an item stands at the section's indentation, its further lines deeper."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        return
    margin = min(len(line) - len(line.lstrip()) for line in filled)
    name, told = "", list[str]()
    for line in filled:
        match = item.match(line[margin:]) if not line[margin].isspace() else None
        if match is None:
            told.append(line)
            continue
        if name:
            yield name, _joined(told)
        name, told = match[1], [match[2] if item.groups > 1 else ""]
    if name:
        yield name, _joined(told)


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
