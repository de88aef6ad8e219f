"""Durable runs over HTTP: start one, see where it stands, answer an approval.

| request | answer |
| --- | --- |
| `POST /runs` with `pipeline`, `inputs`, and `run_id` if it is to have this one | 201, `run_id` |
| `GET /runs`, with `state`, `start` and `limit` | some runs, and `next`, the `start` of the further ones |
| `GET /runs/ID` | one run, with the calls that wait |
| `POST /runs/ID/decisions` with `decisions` by key, and `pause` | 202 |

Who may ask is decided as in `codec_agents.server`: hosts, origins, and a bearer token where others can reach
the address. Errors have the form of OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import anyio
import msgspec

from codec_agents.exceptions import (
    CodecAgentsError,
    DurableIdError,
    DurableNotFoundError,
    InputError,
    PauseError,
)
from codec_agents.pipeline import Pipeline
from codec_agents.scale.durable_client import DurableRuns, State, document_of
from codec_agents.server.access import Access
from codec_agents.server.failures import log_failure
from codec_agents.server.http import (
    BodyBudget,
    ClientGoneError,
    HttpError,
    Receive,
    Request,
    Scope,
    Send,
    answer,
    read_body,
    read_head,
)
from codec_agents.server.settings import ServerSettings
from codec_core.exceptions import DECODE_ERRORS

MAX_BODY = 1024 * 1024
"""Bytes of a request: inputs and decisions are texts that a person or a program writes."""

MOST_LISTED = 100
"""Runs of one answer; each has its texts, or its calls with their arguments."""


class _Start(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /runs`."""

    pipeline: str
    inputs: dict[str, str | list[int]] = {}
    run_id: str | None = None


class _Decisions(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /runs/ID/decisions`."""

    decisions: dict[str, bool | str]
    pause: str | None = None


class DurableApp:
    """The ASGI application."""

    def __init__(
        self,
        runs: DurableRuns,
        pipelines: Mapping[str, Pipeline],
        settings: ServerSettings | None = None,
    ) -> None:
        """Prepare it.

        Args:
            runs: the runs.
            pipelines: by name: the pipelines of which runs may be started.
            settings: who may ask, and the limits of requests.
        """
        self._runs = runs
        self._pipelines = dict(pipelines)
        self._settings = settings or ServerSettings()
        self._access = Access(self._settings)
        self._bodies = BodyBudget(self._settings.max_bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"this application answers HTTP, not {scope['type']!r}")
        try:
            # Before a byte of the body: what is refused costs no memory.
            request = read_head(scope)
            self._access.check_place(request)
            self._access.check_key(request)
            with self._bodies.share() as share:
                request = await read_body(
                    request, receive, share, limit=MAX_BODY, within=self._settings.body_within
                )
                status, document = await self._answer(request)
        except ClientGoneError:  # no answer would arrive
            return
        except HttpError as error:
            await answer(send, error.status, error.body, headers=error.headers)
        except CodecAgentsError as error:
            refused = _refused(error)
            await answer(send, refused.status, refused.body)
        except Exception as error:  # a database, or code of a pipeline: its text is for the log alone
            await answer(send, 500, _failed(error).body)
        else:
            await answer(send, status, msgspec.json.encode(document))

    async def _answer(self, request: Request) -> tuple[int, Any]:
        # The calls are made in threads: each waits for the database.
        match request.method, *request.path.strip("/").split("/"):
            case "POST", "runs":
                return 201, {"run_id": await self._start(_body(request, _Start))}
            case "GET", "runs":
                state = _state(request.query.get("state"))
                start, limit = _number(request, "start", 0), _number(request, "limit", MOST_LISTED)
                # One at least: the place of the next page is behind the last run of this one.
                found, after = await anyio.to_thread.run_sync(
                    self._runs.page, state, start, min(max(limit, 1), MOST_LISTED)
                )
                return 200, {"runs": [document_of(each) for each in found], "next": after}
            case "GET", "runs", run_id:
                return 200, document_of(await anyio.to_thread.run_sync(self._runs.status, run_id))
            case "POST", "runs", run_id, "decisions":
                given = _body(request, _Decisions)
                await anyio.to_thread.run_sync(
                    lambda: self._runs.answer(run_id, given.decisions, pause=given.pause)
                )
                return 202, {"run_id": run_id}
        raise HttpError(404, "not found", code="not_found")

    async def _start(self, given: _Start) -> str:
        pipeline = self._pipelines.get(given.pipeline)
        if pipeline is None:
            known = ", ".join(sorted(self._pipelines))
            raise HttpError(404, f"there is no pipeline {given.pipeline!r}; there are: {known}")
        return await anyio.to_thread.run_sync(
            lambda: self._runs.start(pipeline, given.inputs, run_id=given.run_id)
        )


_STATUSES: Final = (
    (PauseError, 409, None),
    (InputError, 422, None),
    (DurableIdError, 400, "run_id"),
    (DurableNotFoundError, 404, None),
)
"""By the error: the status of the answer, and the field of the request that is at fault."""


def _refused(error: CodecAgentsError) -> HttpError:
    for kind, status, field in _STATUSES:
        if isinstance(error, kind):
            return HttpError(status, str(error), param=field)
    # Other errors of durable runs are of the database and its rows: the client can do nothing about them.
    return _failed(error)


def _failed(error: Exception) -> HttpError:
    return HttpError(500, log_failure("the server failed", error), code="internal_error")


def _state(given: str | None) -> State | None:
    if given is None:
        return None
    for state in get_args(State):
        if state == given:
            found: State = state
            return found
    raise HttpError(400, f"there is no state {given!r}; there are: {', '.join(get_args(State))}")


def _number(request: Request, name: str, default: int) -> int:
    given = request.query.get(name)
    if given is None:
        return default
    # A database has no integers of more digits.
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise HttpError(400, f"{name} is a number from 0 on, not {given[:40]!r}")
    return int(given)


def _body(request: Request, kind: type[Any]) -> Any:
    if request.content_type != "application/json":
        # A page can send other types to any address without asking.
        raise HttpError(415, "send the body as application/json")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except DECODE_ERRORS as error:
        raise HttpError(400, f"the body cannot be read: {error}") from error
