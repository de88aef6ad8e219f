"""Tools that a model has to call, may call once, or may not call; and answers of a form.

Rules that hold in this file:

- A model is made to call a tool by ids that begin the call, which are inserted behind its prompt and are a
  part of it. So the call has the form that the model was trained on, whatever the engine can constrain.
- A turn that may have one call ends behind it: the engine is left, and the ids that it sampled further are
  never seen.
- What cannot be had in this way is refused by name. No choice is taken and then not honoured.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.values import CallRegion
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.server.apis.families import require_dialect
from codec_agents.server.apis.request import Api, ConversationRequest
from codec_agents.server.backends.backend import Job
from codec_agents.server.http import HttpError
from codec_agents.server.lanes import reader_behind
from codec_core.frames import CodecFrame
from codec_core.frames.values import first_ids

if TYPE_CHECKING:
    from codec_agents.server.gateway.continuation import Continuation

END_OF_PROMPT: Final = 256
"""Ids of a prompt among which its opening is looked for; the longest has about thirty."""

FORMATS: Final[dict[Api, str]] = {
    "chat": "response_format",
    "responses": "text.format",
    "messages": "output_config.format",
}
"""The field of each API that gives the answer a form."""

SINGLE: Final[dict[Api, str]] = {
    "chat": "parallel_tool_calls",
    "responses": "parallel_tool_calls",
    "messages": "tool_choice.disable_parallel_tool_use",
}


def require_choices(asked: ConversationRequest, dialect: BoundDialect, forms: Collection[str]) -> None:
    """Accept a request whose choice of tools and form of answer can be had.

    Args:
        asked: the request.
        dialect: the model's dialect.
        forms: the forms of an answer that the engine enforces.

    Raises:
        HttpError: 400, naming the field.
    """
    names = [tool.name for tool in asked.offered_tools]
    if asked.tool_choice == "required" and (asked.tool_name or "") not in ("", *names):
        raise _refused("tool_choice", f"names {asked.tool_name!r}, which is not among the tools")
    if asked.tool_choice == "required" and not names:
        raise _refused("tool_choice", "asks for a call, and there are no tools")
    if names and not asked.parallel_calls and not dialect.tells_calls_apart:
        field = SINGLE[asked.api]
        raise _refused(
            field,
            f"is not served for the family {dialect.name!r}, whose calls of a turn have common marks; leave "
            "it out",
        )
    if asked.sampling.structured is None:
        return
    field = FORMATS[asked.api]
    missing = [name for name in asked.sampling.structured if name not in forms]
    if missing:
        raise _refused(field, f"asks for {missing[0]}, which this engine does not enforce; leave it out")
    if names:
        raise _refused(
            field,
            "would keep the model from calling its tools: give tool_choice none with it, or leave it out",
        )


def begun_ids(asked: ConversationRequest, continuation: Continuation, dialect: BoundDialect) -> Sequence[int]:
    """Return the ids that begin the answer's turn: a call that has to come, or the end of reasoning.

    An answer of a form has it from its first id on, and reasoning that the prompt has opened has none.

    Raises:
        HttpError: 400, the family has no such ids.
    """
    end = continuation.prompt[-END_OF_PROMPT:]
    try:
        if asked.tool_choice == "required":
            names = [asked.tool_name] if asked.tool_name else [tool.name for tool in asked.offered_tools]
            return dialect.begin_call(end, names, before=continuation.history.messages)
        return [] if asked.sampling.structured is None else dialect.end_reasoning(end)
    except (PromptError, DialectError) as error:
        field = "tool_choice" if asked.tool_choice == "required" else FORMATS[asked.api]
        raise _refused(field, f"is not served for this model: {error}") from error


def with_one_call(
    frames: AbstractAsyncContextManager[AsyncIterator[CodecFrame]], job: Job
) -> AbstractAsyncContextManager[AsyncIterator[CodecFrame]]:
    """Return a generation that ends behind its first call, where the client wants no more than one."""
    asked = job.chat
    if asked is None or asked.parallel_calls or not asked.offered_tools:
        return frames
    dialect = require_dialect(job.model.vocabulary).with_tools(asked.offered_tools)
    return _ended(frames, job, dialect)


@asynccontextmanager
async def _ended(
    frames: AbstractAsyncContextManager[AsyncIterator[CodecFrame]], job: Job, dialect: BoundDialect
) -> AsyncIterator[AsyncIterator[CodecFrame]]:
    async with frames as source:
        yield _up_to_a_call(source, job, dialect)


async def _up_to_a_call(
    frames: AsyncIterator[CodecFrame], job: Job, dialect: BoundDialect
) -> AsyncIterator[CodecFrame]:
    reader = reader_behind(dialect, job.prompt_ids, job.begun, with_tools=True)
    before = job.begun
    async for frame in frames:
        regions = [event for event in reader.feed(frame.ids) if isinstance(event, CallRegion)]
        if regions:
            # 0 where the end of the call was known only by an id behind it, and its own ids have gone out.
            cut = first_ids(frame, max(0, regions[0].stop - before))
            yield msgspec.structs.replace(cut, done=True, finish_reason="stop")
            return
        before += len(frame.ids)
        yield frame


def _refused(field: str, message: str) -> HttpError:
    return HttpError(400, f"{field} {message}", code="unsupported_parameter", param=field)
