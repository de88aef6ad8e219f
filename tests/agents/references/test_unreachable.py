"""Why a URL cannot be reached, in one sentence."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from codec_agents.references.unreachable import unreachable


def mismatch(kind: str) -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = f"{kind} mismatch, certificate is not valid for 'private.example'."
    return error


def caused_by(cause: Exception | None) -> OSError:
    error = OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    error.__cause__ = cause
    return error


MISMATCH = "the certificate or the TLS of URL is not accepted: {} mismatch"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (caused_by(mismatch("Hostname")), MISMATCH.format("Hostname")),
        (caused_by(mismatch("IP address")), MISMATCH.format("IP address")),
        (caused_by(socket.gaierror(socket.EAI_NONAME, "unknown")), "the host of URL is not known"),
        (caused_by(ConnectionRefusedError()), "nothing listens at URL"),
        (caused_by(ExceptionGroup("all", [ConnectionRefusedError()])), "nothing listens at URL"),
        (OSError("All connection attempts failed"), "nothing listens at URL, or no network leads there"),
        (caused_by(None), f"URL cannot be reached: {os.strerror(errno.ENETUNREACH)}"),
    ],
)
def test_the_reason_is_that_of_the_causes_and_names_no_host(error: Exception, said: str) -> None:
    """The host may be the value of a variable; the URL is as declared."""
    assert unreachable(error, "URL") == said
