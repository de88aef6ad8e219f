"""What `tests/vectors` says of each family: its turns, in ids of its vocabulary, and what follows them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import yaml

from codec_agents.dialects import BoundDialect, CallRegion, PortIds, TurnEvent, families, get_dialect
from codec_agents.dialects.pieces import Literal, Marker, parse_pieces
from codec_agents.graph.chat import Chat
from codec_agents.tools.tool import Tool, tool
from codec_agents.vocabularies import bundled_map
from codec_core.detokenizer import Detokenizer, detokenize
from codec_core.maps import TokenizerMap
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of

VECTORS = Path(__file__).parents[2] / "vectors"
_FAMILIES: dict[str, dict[str, Any]] = yaml.safe_load((VECTORS / "dialects.yaml").read_text(encoding="utf-8"))
FAMILIES = {
    name: {**_FAMILIES.get(entry.get("like"), {}), **entry}
    for name, entry in _FAMILIES.items()
    if entry.keys() != {"like"}
}
READ_ALIKE: dict[str, str] = {
    name: entry["like"] for name, entry in _FAMILIES.items() if entry.keys() == {"like"}
}
"""Dialects whose turns are read as those of another one, though their prompts may differ."""
TURNS = yaml.safe_load((VECTORS / "dialect_turns.yaml").read_text(encoding="utf-8"))
TOLD_TOOLS: dict[str, str] = yaml.safe_load((VECTORS / "dialect_tools.yaml").read_text(encoding="utf-8"))
RESULTS: dict[str, str] = TURNS["results"]
OPENINGS: dict[str, list[str | None]] = TURNS["openings"]

WEATHER = ("weather", {"city": "Oslo", "days": 3})
CLOCK = ("clock", {"zone": "Europe/Oslo"})


@tool(read_only=True)
def weather(city: str, days: int = 1) -> str:
    """Say how the weather will be.

    Args:
        city: where
        days: how far ahead
    """
    return f"{city}: sun for {days} days"


@tool
async def clock(zone: str) -> dict[str, str]:
    """Say what time it is."""
    return {"zone": zone, "time": "12:00"}


TOOLS: tuple[Tool, ...] = (weather, clock)


@dataclass(frozen=True)
class Case:
    """One turn, and what it must be cut into."""

    name: str
    turn: list[Any]
    finish: str = "stop"
    answer: str = ""
    reasoning: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    error: bool = False
    unclosed: bool = False
    opened: bool = False


def small_map(markers: list[str]) -> TokenizerMap:
    """Return the bundled byte-level map, with these special tokens in place of its own."""
    plain = bundled_map("demo/bytes")
    assert plain.vocab is not None
    vocab = {
        token: number for token, number in plain.vocab.items() if token not in (plain.special_tokens or {})
    }
    special = {name: max(vocab.values()) + 1 + place for place, name in enumerate(markers)}
    return msgspec.structs.replace(
        plain,
        id="test/small",
        vocab={**vocab, **special},
        vocab_size=len(vocab) + len(special),
        special_tokens=special,
        tool_calling=None,
    )


@cache
def small_map_of(dialect: str) -> TokenizerMap:
    return small_map(list(get_dialect(dialect).all_markers()))


def dialect_of(name: str) -> str:
    """Return the dialect that an entry of the vectors is about."""
    return str(FAMILIES.get(name, {}).get("dialect", name))


def cases(name: str) -> Iterator[Case]:
    """Yield the turns of one family."""
    family = FAMILIES[name]
    end, call_end = family["end"], family.get("call_end", family["end"])
    before, after = family.get("answer", ["", ""])
    opened = family.get("opened", False)
    closing = [family["thought"][1]] if opened else []
    said = [before, "It is 三 😀 sunny.\n", after]
    hello = "" if family.get("alone") or before else "Let me see.\n"
    common: dict[str, Any] = {"opened": opened}

    def turn(*parts: Any) -> list[Any]:
        return [*closing, *parts]

    yield Case("plain", turn(*said, end), answer="It is 三 😀 sunny.\n", **common)
    yield Case("one call", turn(hello, family["one"], call_end), answer=hello, calls=[WEATHER], **common)
    yield Case("end id not delivered", turn(family["one"]), calls=[WEATHER], **common)
    if "two" in family:
        yield Case("two calls", turn(family["two"], call_end), calls=[WEATHER, CLOCK], **common)
    yield Case("malformed", turn(family["malformed"], call_end), error=True, **common)
    yield Case("cut by length", turn(family["cut"]), finish="length", unclosed=True, **common)
    yield Case("aborted", turn(family["cut"]), finish="abort", unclosed=True, **common)
    look = family["lookalike"]
    text = look["text"] if isinstance(look, dict) else look
    yield Case("look-alike", turn(before, look, after, end), answer=text, **common)
    if "thought" in family:
        yield from _thinking_cases(family, said, call_end)


def _thinking_cases(family: dict[str, Any], said: list[str], call_end: str) -> Iterator[Case]:
    start, stop = family["thought"]
    end, opened = family["end"], family.get("opened", False)
    yield Case(
        "thought",
        [start, "hm 三", stop, *said, end],
        answer="It is 三 😀 sunny.\n",
        reasoning="hm 三",
        opened=opened,
    )
    yield Case(
        "thought, then call",
        [start, "hm", stop, family["one"], call_end],
        reasoning="hm",
        calls=[WEATHER],
        opened=opened,
    )
    yield Case("thought cut off", [start, "hm"], finish="length", reasoning="hm", opened=opened)
    if family.get("rehearsed"):
        rehearsal = [start, "I might ", family["one"], " or not", stop, *said, end]
        yield Case(
            "rehearsed call", rehearsal, answer="It is 三 😀 sunny.\n", reasoning="I might …", opened=opened
        )
        yield Case(
            "call in open thought",
            [start, "hm", family["one"], call_end],
            reasoning="hm",
            calls=[WEATHER],
            opened=opened,
        )
        yield Case(
            "call in thought, cut",
            [start, "hm", family["one"]],
            finish="length",
            reasoning="hm …",
            opened=opened,
        )


class Bench:
    """A family bound to its vocabulary."""

    def __init__(self, name: str, tokenizer_map: TokenizerMap) -> None:
        self.map = tokenizer_map
        self.vocabulary = vocabulary_of(tokenizer_map)
        self.thinking = FAMILIES.get(name, {}).get("thinking")
        self.bound = BoundDialect(get_dialect(dialect_of(name)), tokenizer_map, TOOLS, self.thinking)
        self.markers = [
            marker for marker in self.bound.dialect.all_markers() if marker in self.vocabulary.special_tokens
        ]
        self.encode = pick_tokenizer(tokenizer_map).encode_ordinary

    def ids(self, parts: list[Any]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            pieces = [Literal(part["text"])] if isinstance(part, dict) else parse_pieces(part, self.markers)
            for piece in pieces:
                if isinstance(piece, Marker):
                    ids.append(self.vocabulary.special_tokens[piece.name])
                else:
                    ids += self.encode(piece.text)
        return ids

    def prompt(self) -> list[int]:
        return self.bound.template(Chat(system="Be brief.", user="{question}")).render(
            {"question": self.encode("Hi")}
        )

    def read(self, prompt: list[int], ids: list[int], cuts: list[int], finish: str) -> list[TurnEvent]:
        reader = self.bound.reader(prompt)
        events: list[TurnEvent] = []
        for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
            events += reader.feed(ids[begin:end])
        return [*events, *reader.flush(finish)]

    def text(self, ids: list[int]) -> str:
        return detokenize(self.map, ids)

    def spelled(self, ids: list[int]) -> str:
        return Detokenizer(self.vocabulary).render(ids, render_special=True)


_benches: dict[str, Bench] = {}


def bench(name: str, shared_map: Callable[[str], TokenizerMap]) -> Bench:
    """Return a family bound to the map of one of its models, or where there is none to a small one."""
    if name not in _benches:
        real = FAMILIES.get(name, {}).get("map")
        _benches[name] = Bench(name, shared_map(real) if real else small_map_of(dialect_of(name)))
    return _benches[name]


def lanes(events: list[TurnEvent]) -> tuple[list[int], list[int], list[CallRegion]]:
    """Return the ids of both ports, and the regions."""
    ports: dict[str, list[int]] = {"answer": [], "reasoning": []}
    for event in events:
        if isinstance(event, PortIds):
            ports[event.port] += event.ids
    return ports["answer"], ports["reasoning"], [event for event in events if isinstance(event, CallRegion)]


def random_cuts(length: int, draw: random.Random) -> list[int]:
    """Return places to cut, equal ones included: empty feeds happen."""
    return sorted(draw.randint(0, length) for _ in range(draw.randint(0, min(length, 12))))


def each(names: Iterable[str]) -> list[Any]:
    """Return dialects as parameters; those beyond one per file and `ALWAYS` are for the slow tests."""
    import pytest  # engines' environments, which read these vectors as well, have none

    first = {module: import_module(module).DIALECTS[0].name for module in _modules()}
    quick = {*first.values(), *ALWAYS}
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def few(names: Iterable[str]) -> list[Any]:
    """Return dialects as parameters of a test that takes long: the quick suite has those of `ALWAYS`."""
    import pytest

    return [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in names]


ALWAYS = {"qwen3", "hermes", "llama3", "mistral-v3", "phi4"}
"""Dialects of the maps that most tests use."""


def _modules() -> list[str]:
    folder = Path(families.__file__).parent
    return [f"{families.__name__}.{path.stem}" for path in sorted(folder.glob("[a-z]*.py"))]
