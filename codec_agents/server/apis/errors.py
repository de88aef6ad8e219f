"""Errors in the form of the API that a request came by."""

from __future__ import annotations

import msgspec

from codec_agents.server.http import HttpError

MESSAGES = "/v1/messages"

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's kinds of errors."""


def error_body(error: HttpError, path: str) -> bytes:
    """Return the body of an error: OpenAI's, but for the paths of Anthropic's API its own."""
    if not path.startswith(MESSAGES):
        return error.body
    kind = KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    # This API has no place for the field at fault, so the message names it.
    named = error.param is None or error.param in error.message
    message = error.message if named else f"{error.param}: {error.message}"
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
