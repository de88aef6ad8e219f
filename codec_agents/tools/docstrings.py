"""Descriptions of a tool and its parameters, from the docstring of its function."""

from __future__ import annotations

from collections.abc import Callable

from docstring_parser import Docstring, ParseError, google, numpydoc, rest

_SECTIONS = [
    google.Section(title, "param", google.SectionType.MULTIPLE)
    for title in ("Keyword Args", "Keyword Arguments", "Other Parameters")
]
"""Titles that Google's style has and the library's defaults lack."""

_STYLES: tuple[Callable[[str], Docstring], ...] = (
    google.GoogleParser([*google.DEFAULT_SECTIONS, *_SECTIONS]).parse,
    numpydoc.parse,
    rest.parse,
)


def documented(docstring: str) -> tuple[str, dict[str, str]]:
    """Return the text before the sections, and the parameters' descriptions by name.

    The style is the one that finds most sections. A docstring that fits none is a description as a whole.
    """
    best = Docstring()
    best.short_description = docstring
    for parse in _STYLES:
        try:
            parsed = parse(docstring)
        except ParseError:
            continue
        if len(parsed.meta) > len(best.meta):  # of two equal ones the first, Google's, is the common one
            best = parsed
    described = {
        # `**options` may be written with its stars. Descriptions lose the line breaks of the source.
        parameter.arg_name.lstrip("*"): " ".join(parameter.description.split())
        for parameter in best.params
        if parameter.description
    }
    return (best.description or "").strip(), described
