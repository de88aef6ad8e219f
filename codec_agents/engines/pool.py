"""Several replicas of one engine: where a request goes, and where it goes when a replica fails.

Rules:

- A conversation stays on its replica while that lives: its prefix is in that replica's cache.
- A new conversation goes where the longest beginning of its prompt is known, unless that replica has much
  more to do than another; else to the one with the least to do.
- A replica that fails rests, and requests go elsewhere meanwhile. Afterwards it is asked for its health; a
  further failure makes the rest longer.
- A request that could not begin is begun on another replica at once. One that breaks off later is the
  caller's to continue, from the exact ids that arrived; the error says that it need not wait (`elsewhere`).
- A request ahead goes to a replica that is well, or to none. It is an addition that a server may refuse while
  it answers others: its failure lets no replica rest.
- Where no replica lives, the one that rested longest is tried: a wrong guess costs less than giving up.
"""

from __future__ import annotations

import time
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from codec_agents.concurrency.signal import Signal
from codec_agents.engines.base import (
    Engine,
    FrameStream,
    GenerationRequest,
    context_of,
    continues_answers,
    enforced_forms,
    is_text_boundary,
    preparing,
)
from codec_agents.exceptions import EngineError, EngineUnavailableError

FIRST_REST = 1.0
"""Seconds that a replica rests after a first failure: a restart takes longer, a lost connection does not."""

LONGEST_REST = 30.0
"""No rest is longer: a replica that came back should not stay unused."""

BLOCK = 64
"""Ids of a beginning that are remembered as one; engines cache prefixes in blocks of 16 to 64 ids."""

MAX_BLOCKS = 65_536
"""Beginnings that are remembered, 4 million ids: more than the caches of most replicas hold."""

MAX_CONVERSATIONS = 16_384
"""Conversations that are remembered; one that was dropped is placed anew, by its beginning."""

SLACK = 2
"""Requests by which the replica that knows a beginning may exceed twice the least load: reading a prompt anew
costs about as much as waiting behind that many."""


@dataclass(slots=True, eq=False)
class Replica:
    """One replica, and how it does."""

    engine: Engine
    running: int = 0
    """Requests in flight."""
    draining: bool = False
    """Takes no further requests."""
    failures: int = 0
    """Failures since the last success."""
    rests_until: float = 0.0
    idle: Signal = field(default_factory=Signal)

    @property
    def name(self) -> str:
        """The name of its engine."""
        return self.engine.name


class EnginePool:
    """An engine that is several replicas of one model, and places each request on one of them.

    Args:
        replicas: engines of one kind, with the same model; each has a name of its own.
        name: the pool's name in the pipeline.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self, replicas: Sequence[Engine], *, name: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        if not replicas:
            raise ValueError("a pool needs at least one replica")
        first = replicas[0]  # they are of one kind
        self.name = name
        self.provider = first.provider
        drawn = [
            (getattr(each, "logprob_mode", None), getattr(each, "default_sampling", None))
            for each in replicas
        ]
        alike = all(each == drawn[0] for each in drawn)
        self.logprob_mode = drawn[0][0] if alike else None
        """What all replicas compute log probabilities from; None where they differ, or sample otherwise."""
        self.default_sampling = drawn[0][1] if alike else None
        """The options of every request, as engines in this process have some."""
        self.text_boundary = is_text_boundary(first)
        self.continues = all(map(continues_answers, replicas))
        self.checks_answers = all(getattr(each, "checks_answers", False) for each in replicas)
        self.enforced_forms = frozenset.intersection(*map(enforced_forms, replicas))
        self._replicas = [Replica(each) for each in replicas]
        self._now = now
        self._conversations: OrderedDict[str, Replica] = OrderedDict()
        self._beginnings: OrderedDict[int, Replica] = OrderedDict()

    @property
    def replicas(self) -> tuple[Engine, ...]:
        """The engines, in declared order."""
        return tuple(each.engine for each in self._replicas)

    @property
    def state(self) -> Mapping[str, str]:
        """How each replica does, by name: `alive`, `resting` or `draining`, and its requests in flight."""
        return {each.name: f"{self._condition(each)}, {each.running} in flight" for each in self._replicas}

    def _condition(self, replica: Replica) -> str:
        if replica.draining:
            return "draining"
        return "resting" if replica.rests_until > self._now() else "alive"

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request to a replica; leaving the context closes it.

        Raises:
            EngineError: no replica could begin it, or the one that had begun it failed.
        """
        async with AsyncExitStack() as stack:
            replica, frames = await self._begin(stack, request)
            try:
                yield frames
            # Raised in the body of the caller's `async with`, where the frames are read.
            except EngineError as error:
                if request.ahead:
                    raise
                self._note_failure(replica, error)
                error.elsewhere = error.transient and self._next(request, {replica.name}) is not None
                raise
            replica.failures = 0

    async def _begin(self, stack: AsyncExitStack, request: GenerationRequest) -> tuple[Replica, FrameStream]:
        """Begin a request on the first replica that can."""
        if request.ahead:
            return await self._begin_ahead(stack, request)
        tried: set[str] = set()
        failure: EngineError | None = None
        while (replica := self._next(request, tried) or self._resting(tried)) is not None:
            tried.add(replica.name)
            if not await self._is_healthy(replica, request):
                continue
            try:
                frames = await self._enter(stack, replica, request)
            except EngineError as error:
                self._note_failure(replica, error)
                if not error.transient:  # every replica would refuse it
                    raise
                failure = error
            else:
                self._remember(replica, request)
                return replica, frames
        raise failure or self._none_is_well()

    async def _begin_ahead(
        self, stack: AsyncExitStack, request: GenerationRequest
    ) -> tuple[Replica, FrameStream]:
        """Begin a request ahead where the request itself will go, if that replica is well."""
        replica = self._next(request, ())
        if replica is None or replica.failures:
            raise self._none_is_well()
        frames = await self._enter(stack, replica, request)
        self._remember(replica, request)
        return replica, frames

    async def _enter(
        self, stack: AsyncExitStack, replica: Replica, request: GenerationRequest
    ) -> FrameStream:
        # Counted from here: the load of requests that wait for their first id is what placement goes by.
        replica.running += 1
        async with AsyncExitStack() as own:
            # Before the stream, so that it runs after the close: a drained replica may be stopped at once.
            own.callback(self._left, replica)
            frames = await own.enter_async_context(replica.engine.stream(request))
            stack.push_async_exit(own.pop_all())
        return frames

    def _left(self, replica: Replica) -> None:
        replica.running -= 1
        replica.idle.give()

    async def prepare(self, request: GenerationRequest) -> None:
        """Prepare the replica that will be asked; the conversation stays there."""
        replica = self._next(request, ())
        if replica is None or (engine := preparing(replica.engine)) is None:
            return
        self._remember(replica, request)  # else the request could go to one that is not prepared
        await engine.prepare(request)

    async def context_length(self, request: GenerationRequest) -> int | None:
        """Return the smallest context of the replicas that live; None where one does not tell its own.

        Raises:
            EngineError: no replica can be asked now.
        """
        found: list[int | None] = []
        failure: EngineError | None = None
        now = self._now()
        alive = [each for each in self._replicas if not each.draining and each.rests_until <= now]
        # One after the other: each keeps its answer, so that later turns wait for none.
        for replica in alive or filter(None, [self._resting(set())]):
            try:
                found.append(await context_of(replica.engine, request))
            except EngineError as error:
                self._note_failure(replica, error)
                failure = error
        if not found:
            raise failure or self._none_is_well()
        # A conversation may move to any of them. One that is down is asked before a later turn.
        known = [each for each in found if each is not None]
        return min(known) if known and len(known) == len(found) else None

    async def drain(self, name: str) -> None:
        """Send a replica no further requests, and wait until those in flight have ended.

        Its conversations go on elsewhere, from their exact prefixes.

        Raises:
            KeyError: no replica has this name.
        """
        replica = self._named(name)
        replica.draining = True
        while replica.running:
            await replica.idle.wait()

    def undrain(self, name: str) -> None:
        """Use a replica again.

        Raises:
            KeyError: no replica has this name.
        """
        self._named(name).draining = False

    async def aclose(self) -> None:
        """Close the connections of all replicas, also where closing one of them fails."""
        async with AsyncExitStack() as stack:
            for replica in self._replicas:
                stack.push_async_callback(replica.engine.aclose)

    # --- placement ---

    def _next(self, request: GenerationRequest, tried: Any) -> Replica | None:
        """Return the replica for a request among those that live and were not tried."""
        now = self._now()
        alive = [
            each
            for each in self._replicas
            if each.name not in tried and not each.draining and each.rests_until <= now
        ]
        if not alive:
            return None
        known = self._conversations.get(_conversation(request))
        if known is not None and known in alive:
            return known
        least = min(alive, key=lambda each: each.running)
        for block in reversed(list(_beginnings(request.prompt_ids))):  # the longest first
            knows = self._beginnings.get(block)
            if knows is not None and knows in alive:
                return knows if knows.running <= 2 * least.running + SLACK else least
        return least

    def _resting(self, tried: set[str]) -> Replica | None:
        """Return the replica that has rested longest, for the case that none lives."""
        left = [each for each in self._replicas if each.name not in tried and not each.draining]
        return min(left, key=lambda each: each.rests_until, default=None)

    def _remember(self, replica: Replica, request: GenerationRequest) -> None:
        if conversation := _conversation(request):
            _keep(self._conversations, conversation, replica, MAX_CONVERSATIONS)
        for block in _beginnings(request.prompt_ids):
            _keep(self._beginnings, block, replica, MAX_BLOCKS)

    # --- health ---

    async def _is_healthy(self, replica: Replica, request: GenerationRequest) -> bool:
        """Ask a replica that has failed for its health; any other is taken to be well."""
        ask = getattr(replica.engine, "is_healthy", None)
        if not replica.failures or ask is None:
            return True
        if await ask(request.timeouts):
            return True
        self._rest(replica)
        return False

    def _note_failure(self, replica: Replica, error: EngineError) -> None:
        """Let a replica rest after a failure that another one would not have had."""
        if error.transient:
            self._rest(replica, getattr(error, "retry_after", None) or 0.0)

    def _rest(self, replica: Replica, asked: float = 0.0) -> None:
        replica.failures += 1
        # The exponent is bounded too: a replica that is down for a day would pass what a float can hold.
        rest = min(FIRST_REST * 2.0 ** min(replica.failures - 1, 10), LONGEST_REST)
        replica.rests_until = self._now() + max(rest, min(asked, LONGEST_REST))

    def _named(self, name: str) -> Replica:
        found = next((each for each in self._replicas if each.name == name), None)
        if found is None:
            raise KeyError(f"the pool {self.name!r} has no replica {name!r}; it has {self._told()}")
        return found

    def _none_is_well(self) -> EngineUnavailableError:
        return EngineUnavailableError(self.name, f"no replica is well: {self._told()}")

    def _told(self) -> str:
        return ", ".join(f"{name} ({state})" for name, state in self.state.items())


def _conversation(request: GenerationRequest) -> str:
    return request.options.session or request.session


def _beginnings(ids: Sequence[int]) -> Iterator[int]:
    """Yield a key for each beginning of whole blocks, the shortest first; each depends on all ids before."""
    try:
        packed, key = memoryview(array("I", ids).tobytes()), 0
    except (OverflowError, TypeError):
        return  # no ids of any map: the replica refuses them with the error of every engine
    for start in range(0, len(ids) // BLOCK * BLOCK, BLOCK):
        key = hash((key, bytes(packed[start * 4 : (start + BLOCK) * 4])))
        yield key


def _keep(known: OrderedDict[Any, Replica], key: Any, replica: Replica, most: int) -> None:
    known[key] = replica
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
