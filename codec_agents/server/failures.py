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
