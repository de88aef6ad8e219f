"""The parts that the commands that serve share: addresses and keys."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

import click

from codec_agents.cli.exits import AddressInUseError


def bound(host: str, port: int) -> list[socket.socket]:
    """Return sockets at the address; a port of 0 becomes a free one."""
    from codec_agents.server.hosting.serving import bind

    try:
        return bind(host, port)
    except socket.gaierror as error:
        raise click.BadParameter(f"{host!r} has no address: {error.strerror}", param_hint="--host") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise click.BadParameter(f"cannot listen on {host}:{port}: {error.strerror}") from error
        raise AddressInUseError(host, port) from error


def address_of(host: str, sockets: Sequence[socket.socket]) -> str:
    """Return the URL at which sockets listen."""
    address = f"[{host}]" if ":" in host else host
    return f"http://{address}:{sockets[0].getsockname()[1]}"


def secret(variable: str) -> str:
    """Return the value of an environment variable.

    Raises:
        SecretMissingError: it is not set.
    """
    from codec_agents.exceptions import SecretMissingError

    if not (value := os.environ.get(variable)):
        raise SecretMissingError(variable)
    return value
