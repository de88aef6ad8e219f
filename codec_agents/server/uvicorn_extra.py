"""The web server is an extra: say so where it is missing."""

from __future__ import annotations

from importlib.util import find_spec


class MissingServerError(ImportError):
    """The packages that serve HTTP are not installed."""

    def __init__(self) -> None:
        super().__init__('serving needs uvicorn; install it with: pip install "codec-agents[server]"')


def require_uvicorn() -> None:
    """Check that uvicorn is there.

    Raises:
        MissingServerError: it is not.
    """
    if find_spec("uvicorn") is None:
        raise MissingServerError
