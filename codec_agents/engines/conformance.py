"""A conformance test for engines: what the contract promises, asked of a real one.

An engine may declare `continues` where this test has shown it. It sends about ten requests of a few ids each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import msgspec

from codec_agents.engines.base import (
    Engine,
    GenerationRequest,
    SamplingOptions,
    continues_answers,
)
from codec_agents.engines.checked import CheckedStream, require_engine
from codec_agents.exceptions import EngineError
from codec_core.vocabulary import Vocabulary

AT_ONCE = 4
"""Requests that run together."""


class ConformanceError(AssertionError):
    """An engine breaks its contract; the message names the promise and what was found."""


@dataclass(frozen=True, slots=True)
class Conformance:
    """The result for an engine that keeps to the contract.

    Attributes:
        ids: the answer to the prompt.
        finish_reason: its finish reason.
        repeats: whether the same request, at temperature 0, has the same answer each time.
        continues: whether each cut of the answer is continued exactly; False where it does not repeat.
    """

    ids: tuple[int, ...]
    finish_reason: str | None
    repeats: bool
    continues: bool


async def check_engine(
    engine: Engine,
    vocabulary: Vocabulary,
    prompt_ids: Sequence[int],
    *,
    model: str | None = None,
    max_tokens: int = 24,
) -> Conformance:
    """Test an engine against its contract.

    Args:
        engine: the engine; it stays open.
        vocabulary: the vocabulary of its model.
        prompt_ids: a prompt to which the model gives several ids.
        model: the name of the model.
        max_tokens: the most ids of an answer.

    Raises:
        ConformanceError: it breaks a promise: ids outside the map, no end, more ids than asked for, a prompt
            outside the map that is sent, a request that fails after another one was left, or an answer that
            is declared to continue and begins anew. Or the answer is one id, or the same one throughout,
            which does not tell.
        EngineError: the engine cannot be asked.
    """
    require_engine(engine)
    request = GenerationRequest(
        prompt_ids=list(prompt_ids),
        vocabulary=vocabulary,
        model=model,
        options=SamplingOptions(max_tokens=max_tokens, temperature=0.0),
    )
    ids, reason = await _answer(engine, request)
    _require(bool(ids), "the answer to the prompt has no ids; give it a prompt that is answered")
    _require(len(ids) <= max_tokens, f"{len(ids)} ids came for max_tokens={max_tokens}")
    await _check_prompts(engine, request)
    await _leave_early(engine, request)
    # These come last, because requests that were refused or left may harm those that follow.
    repeats = await _repeats(engine, request, ids)
    cuts = _telling_cuts(ids, max_tokens)
    what = "the answer looks the same where it is continued and where it begins anew"
    _require(bool(cuts), f"{what}; give a prompt that is answered by several different ids")
    continues = repeats and await _continues(engine, request, ids, cuts)
    declared = continues_answers(engine)
    _require(continues or not repeats or not declared, "it declares `continues`, but restarts the answer")
    return Conformance(ids, reason, repeats, continues)


def _require(kept: bool, broken: str) -> None:
    if not kept:
        raise ConformanceError(broken)


async def _answer(engine: Engine, request: GenerationRequest) -> tuple[tuple[int, ...], str | None]:
    ids: list[int] = []
    reason: str | None = None
    async with engine.stream(request) as stream:
        async for frame in CheckedStream(engine.name, stream, request.vocabulary):
            ids += frame.ids
            reason = frame.finish_reason
    return tuple(ids), reason


async def _check_prompts(engine: Engine, request: GenerationRequest) -> None:
    """Send prompts that no model has: one that is empty, and one with an id outside the map."""
    for prompt, what in (([], "an empty prompt"), ([request.vocabulary.size], "an id outside the map")):
        try:
            await _answer(engine, msgspec.structs.replace(request, prompt_ids=prompt))
        except EngineError:
            continue
        raise ConformanceError(f"{what} is answered rather than refused with an EngineError")


async def _leave_early(engine: Engine, request: GenerationRequest) -> None:
    """Leave a stream after its first frame, and one before it; the requests that follow show any harm."""
    async with engine.stream(request) as stream:
        async for _ in stream:
            break
    async with engine.stream(request):
        pass


async def _repeats(engine: Engine, request: GenerationRequest, ids: tuple[int, ...]) -> bool:
    """Ask several times at once; return whether every answer is the first one."""
    answers: list[tuple[int, ...]] = []

    async def ask() -> None:
        answers.append((await _answer(engine, request))[0])

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(ask)
    return all(answer == ids for answer in answers)


def _telling_cuts(ids: tuple[int, ...], max_tokens: int) -> list[int]:
    """Return up to three places of an answer at which one that begins anew is not taken for its rest."""
    # A cut at either end asks for nothing new; the rest of one id repeated is what a new answer begins with.
    cuts = [cut for cut in range(1, len(ids)) if ids[cut:] != ids[: max_tokens - cut]]
    return sorted({cuts[0], cuts[len(cuts) // 2], cuts[-1]}) if cuts else []


async def _continues(
    engine: Engine, request: GenerationRequest, ids: tuple[int, ...], cuts: Sequence[int]
) -> bool:
    """Ask for the rest after each cut; return whether it is that of the answer."""
    for cut in cuts:
        options = msgspec.structs.replace(request.options, max_tokens=request.options.max_tokens - cut)
        rest = msgspec.structs.replace(
            request, prompt_ids=[*request.prompt_ids, *ids[:cut]], options=options, continued=cut
        )
        if (await _answer(engine, rest))[0] != ids[cut:]:
            return False
    return True
