"""Failures of the server's own: the log has them whole, the client gets an id."""

from __future__ import annotations

import logging
import uuid

_log = logging.getLogger(__name__)


def log_failure(what: str, error: BaseException) -> str:
    """Log an error with its traceback, under a new id; return a sentence for the client.

    The sentence holds nothing of the error: its text may name files, hosts and keys.
    """
    error_id = uuid.uuid4().hex[:12]
    _log.error("%s [%s]", what, error_id, exc_info=error)
    return f"{what}; the server's log has the reason under the id {error_id}"


def drop_frames(error: BaseException) -> None:
    """Forget where a refusal came from, and what it came from.

    Frames on the way hold the request and its body, and a frame that holds the error closes a circle: without
    this the bodies of refused requests stay in memory until Python's next full collection.
    """
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found = found.__cause__ or found.__context__
