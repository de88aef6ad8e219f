"""Dialects read turns as the parsers of inference engines do, or a reason is given why not."""

from __future__ import annotations

import pytest

from tests.agents.dialects.families import few
from tests.agents.dialects.readings import COMMON, SAME, Parser, kept, parsers, read, same, turns, writes_null
from tests.agents.dialects.references import reason

PARSERS = {parser.name: parser for parser in parsers()}
KEPT = kept()


def spread() -> list[object]:
    """Return the parsers as parameters; those of dialects that are not among the quick ones are slow."""
    quick = {name for name in few({parser.dialect for parser in PARSERS.values()}) if isinstance(name, str)}
    return [
        pytest.param(parser, id=name, marks=() if parser.dialect in quick else pytest.mark.slow)
        for name, parser in PARSERS.items()
    ]


def test_each_parser_has_its_readings() -> None:
    assert list(KEPT) == list(PARSERS)


@pytest.mark.parametrize("parser", spread())
def test_turns_are_read_as_they_were_said_and_as_the_engine_reads_them(parser: Parser) -> None:
    told = KEPT[parser.name]
    seen = {turn.name: turn for turn in turns(parser)}
    assert list(seen) == list(told)
    for name, turn in seen.items():
        said = turn.said.document(nulls=writes_null(parser))
        # The name of Gemma 4's channel is among the ids of its reasoning.
        found = read(parser, turn).document(nulls=writes_null(parser))
        if found.get("reasoning", "").startswith("thought\n") and parser.dialect.startswith("gemma-4"):
            found["reasoning"] = found["reasoning"].removeprefix("thought\n")
        assert same(found, said), name
        if told[name] != SAME:
            why = reason(parser.differs, name) or reason(COMMON[parser.engine], name)
            assert why, f"{name}: the engine read {told[name]}"


@pytest.mark.parametrize("name", PARSERS)
def test_each_reason_is_of_a_turn_that_is_read_otherwise(name: str) -> None:
    differ = [turn for turn, found in KEPT[name].items() if found != SAME]
    for pattern, why in PARSERS[name].differs.items():
        assert any(reason({pattern: why}, turn) for turn in differ), pattern
