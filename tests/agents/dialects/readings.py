"""Turns as models generate them, and what inference engines' own parsers read in them.

`python -m tests.family_vectors readings ENGINE` lets an engine's parsers read the turns, and keeps what they
found in `tests/vectors/readings.yaml`. The quick suite reads the same turns with the dialects; it needs no
engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any

import yaml

from codec_agents.dialects import BoundDialect, Dialect, PortIds, ThinkingMode, get_dialect
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.exceptions import PromptError
from codec_agents.tools.tool import Tool, tool
from codec_core.detokenizer import detokenize
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import VECTORS, small_map

READINGS_FILE = VECTORS / "readings.yaml"
SOURCES_FILE = VECTORS / "reading_sources.yaml"


@dataclass(frozen=True)
class Parser:
    """The parsers of one engine for one dialect.

    Fields:
        dialect: the dialect that reads the same turns.
        engine: `vllm`, `renderers` or `openai-harmony`.
        calls, reasoning: the names of its parsers of calls and of reasoning; "" for none.
        modes: template arguments of the engine, by thinking mode.
        without: control tokens of the dialect that are left out of the vocabulary.
        tokenizer: what the engine looks for in the configuration of a tokenizer.
        differs: turns that the engine reads otherwise, with the reason.
    """

    dialect: str
    engine: str
    calls: str = ""
    reasoning: str = ""
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    differs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its file of readings."""
        return f"{self.dialect}.{self.engine}"


_MARKS = "the parser looks for marks in text; control tokens are no text, and text that spells them is"
_STRIPPED = "the package takes white space from the ends of values; the template writes them as they are"
_TYPES_OF = "the package reads a value as JSON where its type is not `string` alone"
COMMON: Mapping[str, Mapping[str, str]] = {
    "vllm": {"*: marks": _MARKS},
    "renderers": {
        "*: marks": _MARKS,
        "value: ends": _STRIPPED,
        "value: code": _STRIPPED,
        "value: strings like other values": _TYPES_OF,
        "value: numbers": "the package keeps the template's `True` and `False` as strings",
        "value: n*": "the package keeps the template's `None` as a string",
    },
    "openai-harmony": {},
}
"""Turns that an engine reads otherwise for several dialects, with the reason."""


def parsers() -> list[Parser]:
    """Return all parsers whose readings are kept."""
    told = yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))
    return [Parser(**{**each, "without": tuple(each.get("without", ()))}) for each in told]


@tool(read_only=True)
def keep(**_arguments: Any) -> str:
    """Keep values."""
    return ""


_TYPES: dict[str, Any] = {
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "flag": {"type": "boolean"},
    "items": {"type": "array", "items": {"type": "string"}},
    "extra": {"type": "object"},
    "note": {"type": ["string", "null"]},
}
TOOLS: tuple[Tool, ...] = (
    replace(
        keep,
        description="Keeps values.",
        parameters={"type": "object", "properties": _TYPES, "required": ["text"]},
    ),
    replace(
        keep,
        name="now",
        description="Says the time.",
        parameters={"type": "object", "properties": {}},
    ),
)


@dataclass(frozen=True)
class Said:
    """What a turn says."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()

    def document(self, *, nulls: bool = True) -> dict[str, Any]:
        """Return it as it is kept: white space at the ends of texts does not count.

        Args:
            nulls: whether arguments that are null are kept.
        """
        calls = [
            {
                "name": name,
                "arguments": {key: value for key, value in told.items() if nulls or value is not None},
            }
            for name, told in self.calls
        ]
        texts = {"content": self.content.strip(), "reasoning": self.reasoning.strip()}
        return {**{key: text for key, text in texts.items() if text}, **({"calls": calls} if calls else {})}


@dataclass(frozen=True)
class Turn:
    """A turn that a dialect writes, behind its prompt.

    Fields:
        name: what it shows.
        said: what it says.
        thinking: the thinking mode of the prompt.
        prompt, ids: the ids of the prompt and of the turn, without the control token that ends it.
    """

    name: str
    said: Said
    thinking: ThinkingMode | None
    prompt: list[int]
    ids: list[int]


VALUES: dict[str, dict[str, Any]] = {
    "words": {"text": "Oslo"},
    "strings like other values": {"text": "3", "note": "true", "items": ["1", "null"]},
    "numbers": {"text": "x", "count": -12, "ratio": 0.5, "flag": False},
    "a large number": {"text": "x", "count": 12345678901234567890},
    "nested": {"text": "x", "extra": {"a": {"b": [1, {"c": None}], "d": [[], {}]}}, "items": ["x", "y z"]},
    "empty": {"text": "", "items": [], "extra": {}},
    "null": {"text": "x", "note": None},
    "quotes": {"text": 'He said "hi", \'ok\' and `so` \\ \\n \\" {"a": [1]}'},
    "lines": {"text": "a\nb\n\n  c\td"},
    "ends": {"text": "  x\n"},
    "letters": {"text": "三 😀 e\u0301 \u200b ｜ ÅÄÖ"},
    "brackets": {"text": "[{(<a href='x'>&amp;</a>)}] </x> 1 < 2 > 0, k=v; f(x)"},
    "JSON": {"text": '{"name": "now", "arguments": {}}'},
    "code": {"text": "def f(a=\"b\"):\n    return f'{a}' # [now()]\n"},
}
"""Arguments of a call, by what is not simple in them."""


def turns(parser: Parser) -> Iterator[Turn]:
    """Yield the turns of one dialect, without those that it refuses to write as nothing would end a value."""
    dialect, bench = get_dialect(parser.dialect), bound(parser.dialect, parser.without)
    form = dialect.calls.written if dialect.calls is not None else None
    for name, said, mode in _said(dialect, thinks=bench.knows_reasoning, calls=form is not None):
        if form is not None and (
            len(said.calls) > (form.most or len(said.calls))
            or (said.calls and said.content and form.text is None)
        ):
            continue
        # Some families write reasoning only behind a prompt that asks for it.
        asked = (mode, "on") if mode is None and said.reasoning else (mode,)
        found = (_turn(bench, name, said, each) for each in asked)
        yield from islice((turn for turn in found if turn is not None), 1)


def _turn(bench: BoundDialect, name: str, said: Said, thinking: ThinkingMode | None) -> Turn | None:
    question = Message(role="user", content="Hi")
    answer = Message(
        role="assistant",
        content=said.content,
        reasoning=said.reasoning or None,
        calls=tuple(MessageCall(*call) for call in said.calls),
    )
    try:
        prompt = bench.write([question], thinking=thinking)
        whole = bench.write(
            [question, answer], thinking=thinking, keep_reasoning=True, add_generation_prompt=False
        )
    except PromptError:
        return None
    if whole[: len(prompt)] != prompt:
        return None
    return Turn(name, said, thinking, prompt, _unended(bench, whole[len(prompt) :]))


def _said(dialect: Dialect, *, thinks: bool, calls: bool) -> Iterator[tuple[str, Said, ThinkingMode | None]]:
    modes: tuple[ThinkingMode | None, ...] = (None, "on", "off") if thinks else (None,)
    for mode in modes:
        label = f", thinking {mode}" if mode else ""
        thought = "I look\nit up." if thinks and mode != "off" else ""
        yield f"answer{label}", Said("Hello, 三 😀.\n\nBye."), mode
        if thought:
            yield f"thought and answer{label}", Said("Hello.", thought), mode
        if not calls:
            continue
        one = ("keep", VALUES["words"])
        yield f"call{label}", Said("", thought, (one,)), mode
        yield f"text and call{label}", Said("Let me see.", thought, (one,)), mode
    if not calls:
        return
    thought = "So." if thinks else ""
    mode = None
    yield "two calls", Said("", thought, (("keep", VALUES["words"]), ("now", {}))), mode
    yield "no arguments", Said("", thought, (("now", {}),)), mode
    for name, values in VALUES.items():
        yield f"value: {name}", Said("", thought, (("keep", values),)), mode
    marks = "".join(dialect.all_markers())
    yield "value: marks", Said("", thought, (("keep", {"text": f"{marks} x"}),)), mode
    yield "answer: marks", Said(f"The marks {marks} are text.", thought), mode


def _unended(bench: BoundDialect, ids: list[int]) -> list[int]:
    """Return a turn without what ends it, which engines take away before they parse."""
    ends = [place for place, number in enumerate(ids) if number in bench.stop_ids]
    return ids[: ends[-1]] if ends and _only_text(bench, ids[ends[-1] + 1 :]) else ids


def _only_text(bench: BoundDialect, ids: list[int]) -> bool:
    special = set(bench.vocabulary.special_tokens.values())
    return not special.intersection(ids)


@cache
def small_map_for(dialect: str, without: tuple[str, ...]) -> TokenizerMap:
    """Return a byte-level map that has the dialect's markers as control tokens."""
    return small_map([each for each in get_dialect(dialect).all_markers() if each not in without])


@cache
def bound(dialect: str, without: tuple[str, ...]) -> BoundDialect:
    """Return a dialect on that map, with `TOOLS`."""
    return BoundDialect(get_dialect(dialect), small_map_for(dialect, without), TOOLS)


def read(parser: Parser, turn: Turn) -> Said:
    """Return what the dialect reads in a turn."""
    bench, tokenizer_map = (
        bound(parser.dialect, parser.without),
        small_map_for(parser.dialect, parser.without),
    )
    reader = bench.reader(turn.prompt)
    ids: dict[str, list[int]] = {"answer": [], "reasoning": []}
    calls: list[tuple[str, dict[str, Any]]] = []
    for event in [*reader.feed(turn.ids), *reader.flush("stop")]:
        if isinstance(event, PortIds):
            ids[event.port] += event.ids
            continue
        for call in bench.parse_calls(event):
            assert call.arguments is not None, call.error
            calls.append((call.name, call.arguments))
    answer, reasoning = (detokenize(tokenizer_map, ids[port]) for port in ("answer", "reasoning"))
    return Said(answer, reasoning, tuple(calls))


SAME = "same"


def found_by(parser: Parser, reading: Callable[[Turn], dict[str, Any]]) -> dict[str, Any]:
    """Return what an engine reads, by turn; `same` where that is what the turn says."""
    found: dict[str, Any] = {}
    for turn in turns(parser):
        said = turn.said.document(nulls=writes_null(parser))
        read_there = reading(turn)
        found[turn.name] = SAME if same(read_there, said) else read_there
    return found


def same(one: Any, other: Any) -> bool:
    """Return whether two readings are the same, types of numbers included."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def writes_null(parser: Parser) -> bool:
    """Return whether the dialect's calls hold arguments that are null."""
    form = get_dialect(parser.dialect).calls
    return form is None or form.written is None or form.written.writes_null


def kept() -> dict[str, dict[str, Any]]:
    """Return what engines read, by `Parser.name` and turn."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(READINGS_FILE.read_text(encoding="utf-8"))
    return found


def keep_readings(engine: str, reading_of: Callable[[Parser], Callable[[Turn], dict[str, Any]]]) -> None:
    """Keep what the parsers of one engine read."""
    known = kept() if READINGS_FILE.exists() else {}
    for parser in parsers():
        if parser.engine == engine:
            known[parser.name] = found_by(parser, reading_of(parser))
            differ = sum(each != SAME for each in known[parser.name].values())
            print(f"{parser.name}: {len(known[parser.name])} turns, {differ} differ", flush=True)
    order = {parser.name: known[parser.name] for parser in parsers() if parser.name in known}
    text = yaml.safe_dump(order, allow_unicode=True, sort_keys=False, width=10_000)
    READINGS_FILE.write_text(text, encoding="utf-8")
