"""YAML and JSON with the line of every value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents.graph.files.document import MAX_DOCUMENT_CHARACTERS, MAX_VALUES, Extent, read_document


def data(text):
    document = read_document(text)
    assert document.faults == []
    return document.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("-12", -12),
        ("007", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ("question -> planner.question", "question -> planner.question"),
    ],
)
def test_plain_values_follow_yaml_1_2(text, value):
    assert data(f"x: {text}") == {"x": value}


def test_a_label_that_says_yes_stays_a_word():
    assert data("{yes: a, no: b, 1: c}") == {"yes": "a", "no": "b", "1": "c"}


def test_each_value_has_its_line():
    document = read_document("a: 1\nb:\n  - x\n  - y: 2\n", "file.yaml")
    assert document.position(("a",)).line == 1
    assert document.position(("b", 0)).line == 3
    assert document.position(("b", 1, "y")).line == 4
    assert document.position(("b", 1, "y", "deeper", 3)).line == 4
    assert document.position(("b", 1)).file == "file.yaml"


def test_a_name_declared_twice_is_a_fault_with_both_lines():
    (fault,) = read_document("a: 1\nb: 2\na: 3\n").faults
    assert (fault.place, fault.line) == ("a", 3)
    assert "first in line 1" in fault.found


def test_anchors_and_merges_work():
    text = "base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\n"
    assert data(text)["other"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("merges", ["<<: *a, <<: *b", "<<: [*a, *b]"])
def test_the_first_of_several_merged_mappings_wins(merges):
    document = read_document(f"a: &a {{x: 1}}\nb: &b {{x: 2, y: 3}}\nc: {{{merges}}}\n")
    assert document.data["c"] == {"x": 1, "y": 3}
    assert [document.positions["c", name].line for name in ("x", "y")] == [1, 2]


@pytest.mark.parametrize("lines", [["  <<: *base", "  y: 3"], ["  y: 3", "  <<: *base"]])
def test_a_field_has_its_own_line_wherever_it_is_merged(lines):
    document = read_document("\n".join(["base: &base {x: 1, y: 2}", "other:", *lines]))
    assert document.data["other"] == {"x": 1, "y": 3}
    assert document.positions["other", "y"].line == 3 + lines.index("  y: 3")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: b: c",
        "\tx: 1",
        "a: !!python/object:os.system {}",
        "a: !!binary aGk=",
        "a: !!bool yes",
        'a: !!int "1\\n"',
        "a: !!float nan",
        "a: !!null word",
        "? [1]\n: 2",
        "a: &x\n  b: *x\n",
        "a: \x00",
        "a: " + "9" * 5000,
        "a: *unknown",
        "--- 1\n--- 2\n",
        "<<: 3",
    ],
)
def test_what_is_no_plain_document_is_a_fault(text):
    document = read_document(text, "file.yaml")
    assert document.faults
    assert all(fault.file == "file.yaml" and fault.severity == "error" for fault in document.faults)


def test_aliases_cannot_multiply_without_end():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (fault,) = read_document("\n".join(lines)).faults
    assert "more than 100000 values" in fault.found


def test_merges_cannot_multiply_without_end():
    lines = ["a0: &a0 {}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    (fault,) = read_document("\n".join(lines), extent=Extent(values=MAX_VALUES - 2000)).faults
    assert "more than 100000 values" in fault.found


@pytest.mark.parametrize("number", ["1e999", "-1e400"])
def test_a_number_that_no_float_holds_is_a_fault(number):
    (fault,) = read_document(f"a: {number}").faults
    assert (fault.place, fault.found) == ("a", f"the number {number} is too large")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, marks=pytest.mark.slow),
        "x: " + "{a: " * 5_000,
        "a" * (MAX_DOCUMENT_CHARACTERS + 1),
    ],
)
def test_what_is_too_deep_or_too_big_is_refused(text):
    assert read_document(text).faults


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_json_reads_as_json(value):
    assert data(json.dumps({"value": value})) == {"value": value}


@given(st.text(max_size=60))
def test_any_text_gives_data_or_faults(text):
    document = read_document(text)
    assert document.data is None or () in document.positions
    assert all(fault.found and fault.remedy for fault in document.faults)
