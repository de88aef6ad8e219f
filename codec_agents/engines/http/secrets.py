"""Errors of an engine, which lose its secrets before they leave it.

A server, or a client library, may repeat whatever it was sent: in a body, a header, a finish reason, or an
exception that holds the request. So every error that leaves an engine passes `EngineSecrets.seal`.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable
from typing import Any, TypeVar

from codec_agents.exceptions import EngineError
from codec_agents.references.secret_texts import SecretTexts
from codec_core.exceptions import CodecError

Failure = TypeVar("Failure", bound=EngineError)
Result = TypeVar("Result")


class EngineSecrets(SecretTexts):
    """The secrets of one engine, which its errors lose as they leave it."""

    __slots__ = ()

    any_case = True

    def seal(self, error: Failure) -> Failure:
        """Return an error that is fit to leave the engine.

        Its message, its notes and its other texts lose every secret. Exceptions of client libraries behind
        it are dropped, because they hold requests with their headers. The frames below are dropped for the
        same reason: tools that print local variables would print the headers. Raise the result outside of
        any `except` block, or Python chains what is being handled.
        """
        error.args = self._hidden(error.args)
        for name, value in vars(error).items():  # `add_note` keeps a list among them
            setattr(error, name, self._hidden(value))
        error.__cause__ = self._sealed_cause(error.__cause__)
        error.__context__ = None
        return error.with_traceback(None)

    async def sealed(self, work: Awaitable[Result]) -> Result:
        """Return the result of a call; an `EngineError` leaves it sealed.

        Raises:
            EngineError: the call's.
        """
        try:
            return await work
        except EngineError as error:
            leaving = self.seal(error)
        try:
            raise leaving  # outside of the handler: nothing is chained to it
        finally:
            del leaving  # the frame is part of the error's traceback: keeping it would close a circle

    def _hidden(self, value: Any) -> Any:
        """Return a value with the secrets hidden in its texts, and in those of lists and tuples."""
        if isinstance(value, str):
            return self.hide(value)
        if type(value) in (list, tuple):  # not named tuples, which take their fields one by one
            return type(value)(map(self._hidden, value))
        return value

    def _sealed_cause(self, cause: BaseException | None) -> BaseException | None:
        """Return the protocol fault that caused an error, if it repeats nothing; None for any other."""
        if not isinstance(cause, CodecError):
            return None
        cause.__cause__ = cause.__context__ = None
        cause = cause.with_traceback(None)
        # Every form in which it may be printed; its own text may hold a part of what a server sent.
        told = "".join(traceback.format_exception(cause)) + repr(cause) + repr(vars(cause))
        return None if self.occur_in(told) else cause
