"""References to environment variables in a declaration: `${NAME}`, and `${NAME:-default}`.

The default replaces a variable that is not set, or that is empty.

The declaration keeps the reference; only the engine that needs the value asks for it, just before use. No
value of a variable appears in a message, an explanation, a drawing or a dump.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from codec_agents.exceptions import SecretMissingError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

_SECRET_NAME = re.compile(r"authorization|cookie|secret|token|password|api[-_]?key", re.IGNORECASE)


def references(text: str) -> tuple[str, ...]:
    """Return the names of the variables that a text refers to, in order."""
    return tuple(match.group(1) for match in _REFERENCE.finditer(text))


def missing(text: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names that a text refers to, that have no default, and that are not set."""
    values = os.environ if environment is None else environment
    return tuple(
        match.group(1)
        for match in _REFERENCE.finditer(text)
        if match.group(2) is None and match.group(1) not in values
    )


def expand(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the text with each reference replaced by the variable's value.

    The result may hold a secret: it goes to the server and nowhere else.

    Raises:
        SecretMissingError: a variable is not set and has no default.
    """
    values = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = values.get(name)
        # `:-` means empty, too, as in shells: CI services set a missing secret to nothing.
        if not found and default is not None:
            return default
        if found is None:
            raise SecretMissingError(name)
        return found

    return _REFERENCE.sub(value, text)


def expand_secret(text: str, environment: Mapping[str, str] | None = None) -> SecretStr:
    """Return the text with its references replaced, in a wrapper that does not print itself.

    Raises:
        SecretMissingError: a variable is not set and has no default.
    """
    return SecretStr(expand(text, environment))


def values_of(text: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the values of the variables that a text refers to, as far as they are set."""
    values = os.environ if environment is None else environment
    return tuple(values[name] for name in references(text) if name in values)


def is_reference(text: str) -> bool:
    """Return whether the text is a reference, with at most a scheme such as `Bearer` before it."""
    rest = _REFERENCE.sub("", text).strip()
    return _REFERENCE.search(text) is not None and rest.lower() in {"", "bearer", "basic", "token"}


def looks_secret(name: str) -> bool:
    """Return whether a header or field of this name usually holds a secret."""
    return _SECRET_NAME.search(name) is not None


def url_has_login(url: str) -> bool:
    """Return whether a URL holds a user or a password, literal or by reference."""
    return "@" in url.partition("://")[2].partition("/")[0]


def url_has_secret(url: str) -> bool:
    """Return whether a URL holds a literal password, or a literal parameter that usually is a secret.

    A user without a password counts as one: tokens are put there (`https://TOKEN@host`).
    """
    try:
        parts = urlsplit(_REFERENCE.sub("", url))
        if parts.password or (parts.username and parts.password is None):
            return True
    except ValueError:  # it is no URL, in which nothing can be told apart
        return False
    parameters = (each.partition("=") for each in parts.query.split("&"))
    return any(looks_secret(name) and value for name, _, value in parameters)
