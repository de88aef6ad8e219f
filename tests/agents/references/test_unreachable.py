"""Why a URL cannot be reached, in one sentence."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from codec_agents.references.unreachable import by_way_of, unreachable


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


VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.mark.parametrize(
    ("variable", "url", "through"),
    [
        ("HTTP_PROXY", "http://maps.example/a", "HTTP_PROXY"),
        ("HTTP_PROXY", "https://maps.example/a", None),
        ("HTTPS_PROXY", "https://maps.example/a", "HTTPS_PROXY"),
        ("ALL_PROXY", "https://maps.example/a", "ALL_PROXY"),
        ("ALL_PROXY", "https://near.example/a", None),
        ("ALL_PROXY", "${PLACE}/a", None),
        ("NO_PROXY", "https://maps.example/a", None),
    ],
)
def test_a_url_names_the_variable_of_its_proxy_and_not_the_proxy(
    variable: str, url: str, through: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not answer may be the proxy; it may have a password."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "near.example")
    if variable != "NO_PROXY":
        monkeypatch.setenv(variable, "http://me:word@127.0.0.1:1")
    assert by_way_of(url) == (url if through is None else f"{url} (asked through the proxy of {through})")
