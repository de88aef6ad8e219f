"""Answers, schemas and expressions are read, or refused with a reason, in bounded time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from codec_agents.graph.output import Output
from codec_agents.plan.answer_readers import Budget, InvalidAnswerError, reader_of_regex, reader_of_schema
from codec_agents.plan.output import form_of
from codec_agents.strict_json import read_json

pytest.importorskip("jsonschema")

DEEP = "[" * 400 + "]" * 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' occurs twice"),
        ("[NaN]", "no NaN"),
        ("[-Infinity]", "no -Infinity"),
        ("1e999", "too large"),
        ("9" * 400, "too large"),
        ("9" * 5000, "too large"),
        (r'"\ud800"', "surrogate"),
        (r'{"\udfff": 1}', "surrogate"),
        (DEEP, "deeper than 64"),
        ("[" * 100_000, "deeper than 64"),
        ("[1,]", "Expecting value|trailing comma"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_not_the_same_everywhere_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_json(text)
    with pytest.raises(InvalidAnswerError, match="not JSON"):
        reader_of_schema({})(text)


def test_other_json_is_read() -> None:
    value = {"a": [1, -2.5, None, True, "\U0001f600", {}, []], "b": 2**200, "": "\x00"}
    assert read_json(json.dumps(value)) == value


@pytest.mark.filterwarnings("ignore")  # `jsonschema` warns where it fetches, which would be an error here
def test_a_schema_fetches_nothing(tmp_path: Path) -> None:
    """A file that is there: a reference that cannot be reached is no proof."""
    (tmp_path / "other.json").write_text('{"type": "integer"}')
    with pytest.raises(ValueError, match="nothing is fetched"):
        reader_of_schema({"$ref": (tmp_path / "other.json").as_uri()})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#"}, "without end"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}, "without end"),
        ({"$dynamicRef": "#x", "$dynamicAnchor": "x"}, "without end"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "nothing is fetched"),
        ({"items": {"$ref": "file:///etc/hostname"}}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "does not hold"),
        ({"items": {"pattern": "a{1000000000}"}}, "repeats"),
        ({"patternProperties": {"(?:a){e<=2}": {}}}, "fuzzily"),
        ({"type": "nope"}, "not a JSON Schema"),
    ],
)  # fmt: skip
def test_a_schema_that_checks_nothing_is_refused_before_a_run(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        reader_of_schema(schema)


def test_names_and_values_are_no_references() -> None:
    schema = {"properties": {"$ref": {"const": {"$ref": "x"}}, "pattern": {"enum": ["(?R)"]}}}
    assert reader_of_schema(schema)('{"$ref": {"$ref": "x"}, "pattern": "(?R)"}')


@pytest.mark.parametrize(
    ("schema", "value", "fine"),
    [
        ({"uniqueItems": True}, [1, 2, "1", True, [1], [True], {"a": 1}, {"a": 2}], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": [1]}, {"a": [1]}], False),
        ({"uniqueItems": True}, [[n] for n in range(2000)], True),
        ({"uniqueItems": False}, [1, 1], True),
        ({"pattern": "^a+$"}, "aaa", True),
        ({"pattern": "^a+$"}, "aab", False),
        ({"pattern": "b"}, 5, True),
        ({"patternProperties": {"^a": {"type": "string"}}}, {"ab": "x", "b": 1}, True),
        ({"patternProperties": {"^a": {"type": "string"}}}, {"ab": 1}, False),
        ({"multipleOf": 0.5}, 2**900, True),
        ({"items": {"anyOf": [{"type": "string"}, {"$ref": "#"}]}}, [[["x"]]], True),
    ],
)
def test_keywords_that_are_bounded_mean_what_they_meant(schema: Any, value: Any, fine: bool) -> None:
    from jsonschema import Draft202012Validator

    assert Draft202012Validator(schema).is_valid(value) is fine, "what the package says"
    read = reader_of_schema(schema)
    if fine:
        assert read(json.dumps(value)) == value
    else:
        with pytest.raises(InvalidAnswerError):
            read(json.dumps(value))


def test_an_expression_in_a_schema_is_matched_against_the_clock() -> None:
    read = reader_of_schema({"pattern": "^(a|aa)+$"}, Budget(match_seconds=0.01))
    with pytest.raises(InvalidAnswerError, match="took too long"):
        read(json.dumps("a" * 60 + "b"))


def test_the_steps_of_a_check_are_counted() -> None:
    twice = {"properties": {"a": {"$ref": "#/$defs/t"}}}
    schema = {"$defs": {"t": {"allOf": [twice, twice]}}, "$ref": "#/$defs/t"}
    read = reader_of_schema(schema, Budget(steps=500))
    assert read('{"a": {}}')
    with pytest.raises(InvalidAnswerError, match="takes too long"):
        read('{"a":' * 40 + "{}" + "}" * 40)


def test_what_a_model_is_told_is_short() -> None:
    read = reader_of_schema({"items": {"type": "string"}})
    with pytest.raises(InvalidAnswerError) as caught:
        read(json.dumps([{"a": "x" * 100_000}] * 20))
    assert len(str(caught.value)) < 2000
    assert str(caught.value).endswith("and more.")


@pytest.mark.parametrize(
    "pattern", ["(?R)?a", "(?P<x>a(?&x)?b)+", "a{1000000000}", "(?:aa){e<=1}", "(" * 4000, "a{"]
)
def test_expressions_without_a_bound_are_refused(pattern: str) -> None:
    if pattern == "a{":
        assert reader_of_regex(pattern)("a{") == "a{"
        return
    with pytest.raises(ValueError, match="not a regular expression"):
        reader_of_regex(pattern)


def test_usual_expressions_are_read() -> None:
    assert reader_of_regex(r"[\p{L}\d]+-\d{4}")("éa5-2026") == "éa5-2026"
    assert reader_of_regex(r'{"a": "\w{1,3}"}')('{"a": "xyz"}') == '{"a": "xyz"}'


class Answer(BaseModel):
    size: float


@pytest.mark.parametrize("text", ['{"size": 1, "size": 2}', '{"size": NaN}', '{"size": 1e999}'])
def test_a_model_of_pydantic_reads_strict_json_too(text: str) -> None:
    form = form_of(Output.model_validate({"schema": "module:Answer"}), Answer)
    assert form.read('{"size": 2}').size == 2
    with pytest.raises(InvalidAnswerError, match="not JSON"):
        form.read(text)
