"""Engines that options name by their URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from codec_agents.engines.base import Engine


def engine_at(
    url: str,
    kind: str,
    name: str,
    key: str | None,
    *,
    param_hint: str,
    options: Mapping[str, Any] | None = None,
) -> Engine:
    """Return a client of an engine.

    Raises:
        click.BadParameter: the URL cannot be read.
    """
    from codec_agents.engines.factory import make_engine

    try:
        return make_engine(kind, name=name, url=url, api_key=key, options=options)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=param_hint) from error
