"""Calls that a prompt begins, for a model that has to end them."""

from __future__ import annotations

import pytest

from codec_agents.dialects import CallRegion
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.dialects.writing.turns import MessageTurns
from codec_agents.exceptions import PromptError
from tests.agents.dialects.families import FAMILIES, READ_ALIKE, TOOLS, Bench, dialect_of, small_map_of

QUICK = {"qwen3", "deepseek-v3.1", "kimi-k3", "harmony", "glm-5", "llama4"}
NO_BEGINNING = {"glm-4.7", "glm-5", "glm-5.1", "glm-5.2", "glm-5.3", "laguna-s-2.1", "laguna-xs-2.1"}
"""Their calls have nothing between the name and the arguments that calls without arguments have too."""
NOT_MARKED = {"llama3", "llama3-pythonic", "llama4", "llama4-pythonic", "xlam-llama", "xlam-qwen"}
"""Their calls are text that is a call only once it is whole."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted({*FAMILIES, *READ_ALIKE})
    ],
)
def test_a_begun_call_is_a_call_in_every_family(name: str) -> None:
    """The begun ids and what all calls go on with are read as the call, and never as another tool's."""
    bench = Bench(name, small_map_of(dialect_of(name)))
    prompt = bench.bound.write([Message(role="user", content="x")])
    if name in NO_BEGINNING | NOT_MARKED:
        with pytest.raises(PromptError, match="no beginning of a call"):
            bench.bound.begin_call(prompt, ["weather"])
        return
    begun = bench.bound.begin_call(prompt, ["weather"])
    call = Message(role="assistant", calls=(MessageCall("weather", {"city": "Oslo"}),))
    written = bench.bound._writer.called(MessageTurns(bench.bound.dialect).turns([call])[0])
    shared = next(size for size in range(len(begun), -1, -1) if begun[len(begun) - size :] == written[:size])
    assert shared > 0
    reader = bench.bound.with_tools(TOOLS).reader(prompt, with_tools=True)
    events = [*reader.feed([*begun, *written[shared:]]), *reader.flush("stop")]
    [region] = [event for event in events if isinstance(event, CallRegion)]
    [found] = bench.bound.parse_calls(region)
    assert (found.name, found.arguments, found.error) == ("weather", {"city": "Oslo"}, None)


def test_of_several_tools_the_model_writes_the_name() -> None:
    bench = Bench("qwen3", small_map_of("qwen3"))
    prompt = bench.bound.write([Message(role="user", content="x")])
    begun = bench.bound.begin_call(prompt, ["weather", "clock"])
    assert bench.bound.spelled(begun) == '<tool_call>\n{"name": "'


def test_calls_that_have_marks_of_their_own_are_told_apart() -> None:
    names = ("qwen3", "mistral-v3", "harmony")
    apart = [Bench(name, small_map_of(name)).bound.tells_calls_apart for name in names]
    assert apart == [True, False, True]
