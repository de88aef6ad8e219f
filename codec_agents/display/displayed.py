"""The base of values that notebooks and rich show."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codec_agents.display.parts import Part


class Displayed:
    """A value with parts, which Jupyter, IPython and `rich.print` show in their own ways."""

    __slots__ = ()

    def _display_parts(self) -> Iterable[Part]:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """Return the value as HTML, for notebooks."""
        from codec_agents.display.parts import to_html

        return to_html(self._display_parts())

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """Return the value in each form that a notebook may choose from."""
        from codec_agents.display.parts import Picture, to_html, to_text

        parts = list(self._display_parts())
        forms = {"text/plain": to_text(parts), "text/html": to_html(parts)}
        pictures = [part.svg for part in parts if isinstance(part, Picture)]
        if len(pictures) == 1:  # a form is one picture; of several, the HTML shows all
            forms["image/svg+xml"] = pictures[0]
        return {
            kind: form
            for kind, form in forms.items()
            if (include is None or kind in include) and (exclude is None or kind not in exclude)
        }

    def __rich__(self) -> RenderableType:
        """Return what a console of rich prints."""
        from codec_agents.display.parts import to_rich

        return to_rich(self._display_parts())
