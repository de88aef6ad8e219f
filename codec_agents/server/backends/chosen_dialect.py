"""A back end whose chats are in a dialect chosen by its name, for maps that tell none or another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from codec_agents.server.backends.backend import Backend, ServedModel


def with_dialect(backend: Backend, name: str) -> Backend:
    """Return a back end whose models write and read chats in a dialect.

    Raises:
        DialectError: there is no such dialect, or a map lacks its markers.
    """
    return cast("Backend", _Speaking(backend, name))


def require_families(backend: Backend) -> None:
    """Check that the maps of a back end tell their dialects.

    Raises:
        DialectError: one of them names no family.
    """
    from codec_agents.dialects import derive_dialect

    for model in backend.models:
        derive_dialect(model.vocabulary)


class _Speaking:
    """Hands everything on but the models, also attributes that only some back ends have."""

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self.models = tuple(_speaking(model, name) for model in backend.models)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _speaking(model: ServedModel, name: str) -> ServedModel:
    from codec_agents.dialects import BoundDialect, get_dialect

    # All users of a map share its vocabulary, and with it the dialect that it keeps.
    vocabulary = model.vocabulary.apart()
    vocabulary.derived[BoundDialect] = get_dialect(name).bind(vocabulary)
    return replace(model, vocabulary=vocabulary)
