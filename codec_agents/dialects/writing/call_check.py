"""Declared calls are read back as they were written: what a family would take for other calls is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from codec_agents.dialects.pieces import Literal
from codec_agents.dialects.writing.turns import KnownCall
from codec_agents.exceptions import PromptError
from codec_agents.tools.calls import ToolCall

PROBE = 'a "b"\\ {c}\n<d>'
"""Fills the slots of a call that is read back: what strings escape, and what marks are made of."""


def check_calls(
    dialect: str, calls: Sequence[KnownCall], found: Sequence[ToolCall], probe: str, *, with_ids: bool
) -> None:
    """Accept calls that were read back as what they are.

    Args:
        dialect: its name.
        calls: what was declared.
        found: what was read back from what was written.
        probe: what the slots held.
        with_ids: whether the family writes the ids of calls.

    Raises:
        PromptError: they were read back as something else.
    """
    # Before the numbers are compared: the first call that is missing is named.
    for known, got in zip(calls, [*found, *[None] * len(calls)], strict=False):
        wrong = _difference(known, got, probe, with_ids)
        if wrong:
            raise PromptError(
                f"the dialect {dialect!r} cannot write the call of {known.name!r} so that it is read "
                f"back as the same: {wrong}; change what it holds, or say it in a user's turn"
            )
    if len(found) != len(calls):
        raise PromptError(
            f"the dialect {dialect!r} would read {len(found)} calls back from {len(calls)} in one turn"
        )


def _difference(known: KnownCall, got: ToolCall | None, probe: str, with_ids: bool) -> str | None:
    if got is None:
        return "it is not found"
    if got.error is not None:
        return got.error
    if got.name != known.name:
        return f"its name would be {got.name!r}"
    if with_ids and got.call_id != known.id:
        return f"its id would be {got.call_id!r}, not {known.id!r}"
    wanted = {key: _filled(value, known, probe) for key, value in known.arguments.items()}
    if _canonical(got.arguments) == _canonical(wanted):
        return None
    arguments = got.arguments or {}
    parted = [
        key
        for key in {**wanted, **arguments}
        if _canonical(wanted.get(key)) != _canonical(arguments.get(key))
    ]
    return f"the arguments {sorted(parted)} would be others"


def _filled(value: Any, call: KnownCall, probe: str) -> Any:
    """Return an argument with the probe in its slots."""
    if isinstance(value, str):
        return "".join(piece.text if isinstance(piece, Literal) else probe for piece in call.pieces(value))
    if isinstance(value, Mapping):
        return {key: _filled(entry, call, probe) for key, entry in value.items()}
    return [_filled(entry, call, probe) for entry in value] if isinstance(value, list | tuple) else value


def _canonical(value: Any) -> str:
    # As text: in Python 1, 1.0 and True are equal, which no family writes alike.
    return json.dumps(value, sort_keys=True)
