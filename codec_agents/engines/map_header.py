"""`Codec-Tokenizer-Map`: the map that an answer's ids belong to, in all forms that servers write."""

from __future__ import annotations

import re
from collections.abc import Mapping

from codec_agents.engines.base import GenerationRequest
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.exceptions import MapMismatchError

SHORTEST_HASH = 8
"""Hexadecimal digits of a shortened hash that are compared; fewer would agree by chance."""

_HASH = re.compile(rf"(?:sha256:)?([0-9a-f]{{{SHORTEST_HASH},64}})")


def map_agrees(headers: Mapping[str, str], held: str, map_id: str) -> tuple[bool, str] | None:
    """Return whether the map that an answer names is the one held, and the name; None where it names none.

    Forms: a hash, with or without `sha256:` and in quotes or not; after the map's id and an `@` or a space,
    also shortened; the id alone; a URL, whose hash is in `Codec-Tokenizer-Map-Hash` beside it. What follows
    the id and is no hash, such as a version, names no map.

    Args:
        headers: of the answer, by names in lower case.
        held: the hash of the map that is held, as `sha256:<hex>`.
        map_id: its id.
    """
    named = headers.get("codec-tokenizer-map", "").strip().strip('"')
    beside = headers.get("codec-tokenizer-map-hash", "").strip().strip('"')
    if "://" in named and not beside:
        return None  # an address does not say which bytes it serves
    shown = beside or named
    if not shown:
        return None
    last = re.split(r"[@\s]", shown.lower())[-1]
    found = _HASH.fullmatch(last)
    if found is None:
        # Behind the id is a version, or too few digits to tell; digits that are wrong tell all the same.
        tells_nothing = re.match(rf"{re.escape(map_id)}[@\s]", shown) and (
            not last.startswith("sha256:") or held.lower().startswith(last)
        )
        return None if tells_nothing else (shown == map_id, shown)
    return held.lower().removeprefix("sha256:").startswith(found[1]), shown


def check_map(engine: str, response: HttpResponse, request: GenerationRequest) -> None:
    """Compare the map that the server names, if it names one, with the node's.

    Raises:
        MapMismatchError: they differ; every id would be read as another token.
    """
    held = request.vocabulary.hash
    if held is None:  # a map that was built in memory has no bytes to compare
        return
    found = map_agrees(response.headers, held, request.vocabulary.id)
    if found is not None and not found[0]:
        raise MapMismatchError(engine, held, found[1])
