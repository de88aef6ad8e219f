"""The signature of a callable, whatever its annotations name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature_of(call: Callable[..., Any], *, follow_wrapped: bool = True) -> inspect.Signature:
    """Return the signature of a callable; annotations may name what only a type checker imports.

    Args:
        call: the callable.
        follow_wrapped: whether the signature is that of the function that it decorates.

    Raises:
        TypeError, ValueError: it tells none, as some callables of C.
    """
    if sys.version_info >= (3, 14):  # where annotations are evaluated when they are asked for
        from annotationlib import Format

        return inspect.signature(call, follow_wrapped=follow_wrapped, annotation_format=Format.FORWARDREF)
    return inspect.signature(call, follow_wrapped=follow_wrapped)
