"""The rows of durable runs in DBOS's database, checked: a damaged one must not hide the runs beside it.

The right to write the database is one to run code all the same: DBOS reads a value that says so by `pickle`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from codec_agents.exceptions import DurableError
from codec_agents.records.lines import WaitingCall
from codec_core.exceptions import CONVERSION_ERRORS


class Started(msgspec.Struct, array_like=True):
    """The arguments of a workflow, in the order in which DBOS keeps them."""

    run_id: str
    pipeline: str
    inputs: dict[str, str | list[int]]
    pause: str | None
    decisions: dict[str, bool | str] | None


class Waiting(msgspec.Struct):
    """The pause at which a workflow ended, and the calls that wait."""

    pause: str
    calls: list[WaitingCall]


class Error(msgspec.Struct, omit_defaults=True):
    """The fields of `error_of`."""

    type: str
    message: str
    node: str | None = None
    cause: str | None = None


class Outcome(msgspec.Struct):
    """The result of a workflow that DBOS holds: one of these fields is set."""

    text: dict[str, str] | None = None
    waiting: Waiting | None = None
    error: Error | None = None


def started_of(workflow: Any) -> Started:
    """Return the arguments of a workflow.

    Raises:
        DurableError: Its row is damaged.
    """
    try:
        return msgspec.convert(workflow.input["args"], Started)
    # The row may hold no mapping, or another one.
    except (*CONVERSION_ERRORS, TypeError, LookupError) as error:
        raise damaged(workflow.workflow_id) from error


def outcome_of(workflow: Any) -> Outcome:
    """Return the result of a workflow.

    Raises:
        DurableError: Its row is damaged.
    """
    try:
        found = msgspec.convert(workflow.output, Outcome)
    except CONVERSION_ERRORS as error:
        raise damaged(workflow.workflow_id) from error
    if found.text is None and found.waiting is None and found.error is None:
        raise damaged(workflow.workflow_id)
    return found


def damaged(workflow: str) -> DurableError:
    """Return the error of a damaged row."""
    return DurableError(
        f"the row of {workflow} in DBOS's database is damaged; its record, if there is one, is as it was"
    )
