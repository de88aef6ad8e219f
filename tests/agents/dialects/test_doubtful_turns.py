"""Turns that name marks, leave them out, or put them where they do not belong: read in every cut alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from codec_agents.dialects import BoundDialect, CallRegion, PortIds, get_dialect
from codec_agents.dialects.pieces import Literal, Marker, parse_pieces
from codec_agents.tools.tool import Tool, tool
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import random_cuts, small_map, weather


@tool
def write_file(path: str, content: str) -> str:
    """Write a file."""
    return f"{path}: {len(content)}"


Found = tuple[str, str, list[tuple[str, Any, bool]]]
"""The answer, the reasoning, and the calls: name, arguments or None, and whether it is closed and right."""


class Reading:
    """One family in a small vocabulary; reads turns whole, id by id, and cut at random."""

    def __init__(self, name: str, tools: Sequence[Tool] = (), *, bare: bool = False) -> None:
        dialect = get_dialect(name)
        self._map = small_map(list(dialect.markers if bare else dialect.all_markers()))
        self._bound = BoundDialect(dialect, self._map, tools)
        self._markers = [name for name in dialect.all_markers() if name in (self._map.special_tokens or {})]

    def ids(self, text: str) -> list[int]:
        encode, special = pick_tokenizer(self._map).encode_ordinary, vocabulary_of(self._map).special_tokens
        ids: list[int] = []
        for piece in parse_pieces(text, self._markers):
            assert isinstance(piece, Marker | Literal)
            ids += [special[piece.name]] if isinstance(piece, Marker) else encode(piece.text)
        return ids

    def read(self, text: str, finish: str = "stop", prompt: Sequence[int] = ()) -> Found:
        ids = self.ids(text)
        draw = random.Random(text)
        whole = self._read(ids, [], finish, prompt)
        for cuts in (list(range(1, len(ids))), *(random_cuts(len(ids), draw) for _ in range(20))):
            assert self._read(ids, cuts, finish, prompt) == whole
        return whole

    def _read(self, ids: list[int], cuts: list[int], finish: str, prompt: Sequence[int]) -> Found:
        reader = self._bound.reader(prompt)
        events = []
        for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
            events += reader.feed(ids[begin:end])
        events += reader.flush(finish)
        ports: dict[str, list[int]] = {"answer": [], "reasoning": []}
        calls: list[tuple[str, Any, bool]] = []
        for event in events:
            if isinstance(event, PortIds):
                ports[event.port] += event.ids
                continue
            assert isinstance(event, CallRegion)
            for call in self._bound.parse_calls(event):
                runs = call.closed and call.error is None
                calls.append((call.name, call.arguments if runs else None, runs))
        answer, reasoning = (detokenize(self._map, ports[port]) for port in ("answer", "reasoning"))
        return answer, reasoning, calls


MENTIONS = [
    "The tag `<tool_call>` opens a call. It needs JSON.",
    "Use <tool_call> and </tool_call>. Bye.",
    "<tool_call>",
    "a <tool_call> <tool_call> b </tool_call>",
]


@pytest.mark.parametrize("tools", [(), (weather,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("text", MENTIONS)
def test_an_answer_that_names_a_mark_stays_an_answer(text: str, tools: Sequence[Tool]) -> None:
    assert Reading("hermes", tools, bare=True).read(f"{text}<|im_end|>") == (text, "", [])


CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


def test_without_tools_no_text_is_a_call() -> None:
    assert Reading("hermes", bare=True).read(f"{CALL}<|im_end|>") == (CALL, "", [])


def test_a_call_behind_a_mention_is_found() -> None:
    answer, _, calls = Reading("hermes", [weather], bare=True).read(f"Use <tool_call>: {CALL}!<|im_end|>")
    assert (answer, calls) == ("Use <tool_call>: !", [("weather", {"city": "Oslo"}, True)])


def test_a_broken_call_in_text_is_told_to_the_model() -> None:
    turn = '<tool_call>{"name": "weather", "arguments": {"city": Oslo}}</tool_call><|im_end|>'
    assert Reading("hermes", [weather], bare=True).read(turn)[2] == [("weather", None, False)]


@pytest.mark.parametrize(
    "text",
    [
        "Use <function=name> to call.",
        "x =<function=y></function>.",
        "三<function=weather is how it begins",
        "<function=<function=weather",
    ],
)
def test_text_behind_a_mark_is_whole_and_once(text: str) -> None:
    """A token is shared between the text and the mark there."""
    assert Reading("qwen3-coder", [weather]).read(f"{text}<|im_end|>") == (text, "", [])
