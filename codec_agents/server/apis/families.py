"""The dialect of a served model.

The server knows no family. `codec_agents.dialects` writes and reads, for every map that names one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_agents.dialects.bound import BoundDialect
    from codec_core.vocabulary import Vocabulary


def dialect_of(vocabulary: Vocabulary) -> BoundDialect | None:
    """Return the dialect of a model; None where its map names no family."""
    # Dialects are imported with the first chat: a server of frames alone never needs them.
    from codec_agents.dialects import family_dialect

    return family_dialect(vocabulary)


def require_dialect(vocabulary: Vocabulary) -> BoundDialect:
    """Return the dialect of a model.

    Raises:
        HttpError: 400, the model's map names no family.
    """
    dialect = dialect_of(vocabulary)
    if dialect is None:
        raise HttpError(
            400,
            f"the map {vocabulary.id!r} names no model family, so there is no form for a chat; send a prompt "
            "to /v1/completions",
            code="no_chat_form",
        )
    return dialect
