"""Servers that run as processes of their own."""

from __future__ import annotations

import subprocess


def url_of(process: subprocess.Popen[str]) -> str:
    """Return the URL that a server writes to its standard error, which is read up to there."""
    assert process.stderr is not None
    line = next((line for line in process.stderr if "running on" in line), None)
    assert line is not None, "the server did not start"
    return next(word for word in line.split() if word.startswith("http://"))
