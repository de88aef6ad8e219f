"""The parts that the commands that serve share: addresses and keys."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from codec_agents.cli.exits import AddressInUseError

if TYPE_CHECKING:
    from codec_agents.server import ServerSettings


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


def require_server(host: str, settings: ServerSettings) -> None:
    """Check that a server can be run, and that it asks for a key where others can reach it.

    Raises:
        click.UsageError: the extra `server` is missing, or the key.
    """
    from codec_agents.server import MissingServerError
    from codec_agents.server.access import UnprotectedServerError, require_keys
    from codec_agents.server.hosting.serving import require_uvicorn

    try:
        require_uvicorn()
        require_keys(host, settings)
    except MissingServerError as error:
        raise click.UsageError(str(error)) from error
    except UnprotectedServerError as error:
        raise click.UsageError(
            f"a server on {host!r} can be reached by others, and asks for no key: name the variable of one "
            "with --api-key-env, or leave out --host"
        ) from error


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
