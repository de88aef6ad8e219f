"""The answers for runs that failed before they had given anything."""

from __future__ import annotations

import math

from codec_agents.exceptions import (
    ContextFullError,
    EngineError,
    EngineStatusError,
    EngineTimeoutError,
    EngineUnavailableError,
    LimitExceededError,
    NodeFailedError,
    RunError,
)
from codec_agents.server.failures import log_failure
from codec_agents.server.http import HttpError


def failure(error: RunError) -> HttpError:
    """Return the answer for a run that failed before it had given anything.

    The status shows a client whether to retry. Node names, tools, engines and their texts are the
    pipeline's internals: the log has them, under the id that the client gets.
    """
    if isinstance(error, ContextFullError):
        said = log_failure("the conversation is longer than the context of a model of the pipeline", error)
        return HttpError(400, said, code="context_length_exceeded")
    cause = error.cause if isinstance(error, NodeFailedError) else error
    headers = {}
    status = 500
    # Other statuses of an engine are about a request that the pipeline wrote, not about the client's.
    if isinstance(cause, EngineStatusError) and cause.status in (429, 503):
        status = cause.status
        # 1 where the engine names no time, as this server's own refusals have it.
        headers = {"retry-after": f"{math.ceil(cause.retry_after or 1)}"}
    elif isinstance(cause, EngineTimeoutError):
        status = 504
    elif isinstance(cause, EngineError):
        status = 503 if isinstance(cause, EngineUnavailableError) else 502
    # The other limits are of ids, turns and calls: another try is likely to reach them as well.
    elif isinstance(error, LimitExceededError) and error.limit == "wall":
        status = 504
    return HttpError(
        status, log_failure("the pipeline failed", error), code="pipeline_failed", headers=headers
    )
