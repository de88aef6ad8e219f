"""Results find their calls: by id, in order without one, and in time linear in their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from codec_agents.dialects import BoundDialect, Message, MessageCall, get_dialect
from codec_agents.dialects.open_calls import OpenCalls
from codec_agents.server.gateway.history import Asked, history_of
from tests.agents.dialects.families import small_map_of

MANY = 150
"""Of these, 11,000 comparisons find the calls of all results one by one, and a few hundred by their ids."""


class Counted(str):
    """An id that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def qwen() -> BoundDialect:
    return BoundDialect(get_dialect("qwen2.5"), small_map_of("qwen2.5"))


def write(messages: Sequence[Message]) -> None:
    qwen().write(messages)


def hash_history(messages: Sequence[Message]) -> None:
    history_of(Asked(b"t", "m", messages), qwen())


def test_a_result_answers_the_first_open_call_of_its_id() -> None:
    calls = OpenCalls([("a", "1"), ("b", None), ("a", "1"), (None, "4")])
    assert [calls.take(name) for name in ("1", None, "a", "a", "4", None)] == [0, 1, 2, None, 3, None]


@pytest.mark.parametrize("read", [write, hash_history])
def test_many_results_are_put_in_order_in_linear_time(read: Callable[[Sequence[Message]], None]) -> None:
    calls = tuple(MessageCall("f", {}, Counted(f"c{number}"), "{}") for number in range(MANY))
    results = [Message(role="tool", content="r", call_id=Counted(f"c{number}")) for number in range(MANY)]
    chat = [Message(role="user", content="Hi"), Message(role="assistant", calls=calls), *results[::-1]]
    Counted.compared = 0
    read(chat)
    assert Counted.compared < 20 * MANY
