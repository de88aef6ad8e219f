"""Chat templates are foreign code: rendering one is bounded, and reaches nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the extra `templates` is not installed")

from codec_agents.dialects.templates.template_process import (
    RenderLimits,
    TemplateFailedError,
    TemplateProcess,
    template_of,
)
from codec_agents.exceptions import DialectError

HI = [{"role": "user", "content": "Hi"}]


def rendered(template: str, **options: Any) -> str:
    with TemplateProcess({"chat_template": template}) as process:
        return process.render(HI, **options)


def test_several_conversations_are_rendered_by_one_process() -> None:
    config = {"chat_template": "{{ bos_token }}{{ messages | length }}", "bos_token": {"content": "<s>"}}
    with TemplateProcess(config) as process:
        assert [process.render(HI * count) for count in range(4)] == ["<s>0", "<s>1", "<s>2", "<s>3"]


def test_block_of_generated_text_is_rendered_as_it_is() -> None:
    block = "{% generation %}{{ m.content }}{% set x = 2 %}{% endgeneration %}"
    template = "{% set x = 1 %}{% for m in messages %}a" + block + "b{% endfor %}{{ x }}"
    assert rendered(template) == "aHib1"


def test_json_is_written_as_by_the_reference() -> None:
    value = {"b": "<é>", "a": [1]}
    assert rendered("{{ v | tojson }}", options={"v": value}) == '{"b": "<é>", "a": [1]}'
    narrow = rendered("{{ v | tojson(separators=(',', ':'), sort_keys=true) }}", options={"v": value})
    assert narrow == '{"a":[1],"b":"<é>"}'
    assert rendered("{{ v | tojson(ensure_ascii=true, indent=2) }}", options={"v": value}) == json.dumps(
        value, indent=2
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__ }}",
        "{% include 'x' %}",
    ],
)
def test_templates_are_kept_in_a_sandbox(template: str) -> None:
    with pytest.raises(TemplateFailedError, match=r"SecurityError|no loader"):
        rendered(template)


def test_templates_may_append_to_lists() -> None:
    """As that of Kimi K2 does; each request has values of its own."""
    template = "{% set a = [1] %}{{ a.append(2) or '' }}{{ messages.append(3) or '' }}{{ a | length }}"
    with TemplateProcess({"chat_template": template + "{{ messages | length }}"}) as process:
        assert [process.render([{"role": "user", "content": "Hi"}]) for _ in range(2)] == ["22", "22"]


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLED = "{% set a = ['a'] %}" + "{% set a = [a, a] %}" * 40
GROWING = {
    "repeated": "{{ 'a' * 2000000000 }}",
    "padded": "{{ 'a'.ljust(2000000000) }}",
    "formatted": "{{ '%2000000000d' % 1 }}",
    "by a filter": "{{ 'a' | center(2000000000) }}",
    "doubled": DOUBLED + "{{ a }}",
    "doubled and compared": DOUBLED
    + DOUBLED.replace("a =", "b =").replace("[a,", "[b,")
    + "{{ a | tojson }}",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name.startswith("doubled") else name for name in GROWING],
)
def test_memory_is_bounded(name: str) -> None:
    with pytest.raises(DialectError, match="more than its limits"):
        rendered(GROWING[name])


@pytest.mark.parametrize("template", [pytest.param(LOOPS, marks=pytest.mark.slow), "{{ 9 ** (9 ** 9) }}"])
def test_time_is_bounded(template: str) -> None:
    limits = RenderLimits(seconds=1)
    with (
        TemplateProcess({"chat_template": template}, limits) as process,
        pytest.raises(DialectError, match="more than its limits"),
    ):
        process.render(HI)


def test_output_is_bounded() -> None:
    limits = RenderLimits(characters=1000)
    with (
        TemplateProcess({"chat_template": "{% for _ in range(9999) %}ab{% endfor %}"}, limits) as process,
        pytest.raises(DialectError, match="more than 1000 characters"),
    ):
        process.render(HI)


@pytest.mark.slow
def test_a_process_that_was_ended_is_replaced() -> None:
    template = "{% if spin %}" + LOOPS + "{% endif %}done"
    with TemplateProcess({"chat_template": template}, RenderLimits(seconds=2)) as process:
        with pytest.raises(DialectError, match="more than its limits"):
            process.render(HI, options={"spin": True})
        assert process.render(HI) == "done"


NESTED = {
    "blocks": lambda depth: "{% if true %}" * depth + "x" + "{% endif %}" * depth,
    "parentheses": lambda depth: "{{ " + "(" * depth + "'x'" + ")" * depth + " }}",
    "lists": lambda depth: "{{ (" + "[" * depth + "'x'" + "]" * depth + ") | string | replace('[', '') }}",
}


@pytest.mark.parametrize("name", NESTED)
def test_shallow_nesting_is_rendered(name: str) -> None:
    assert rendered(NESTED[name](10)).startswith(("x", "'x'"))


@pytest.mark.parametrize(("name", "depth"), [("blocks", 100), *((name, 5_000) for name in NESTED)])
def test_deep_nesting_is_refused(name: str, depth: int) -> None:
    with pytest.raises(DialectError, match="the chat template"):
        rendered(NESTED[name](depth))


def test_recursion_is_refused() -> None:
    with pytest.raises(DialectError, match="the chat template"):
        rendered("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")


def test_environment_stays_away_from_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the sandbox would not give keys away, either."""
    monkeypatch.setenv("SOME_API_KEY", "x")
    with TemplateProcess({"chat_template": "x"}) as process:
        process.render(HI)
        assert process._process is not None
        environment = Path(f"/proc/{process._process.pid}/environ")
        if not environment.exists():
            pytest.skip("this system does not show the environment of a process")
        assert b"SOME_API_KEY" not in environment.read_bytes()


def test_processes_end_with_their_context() -> None:
    with TemplateProcess({"chat_template": "x"}) as process:
        process.render(HI)
        worker = process._process
        assert worker is not None
    assert worker.poll() is not None


def test_no_template_is_refused() -> None:
    with pytest.raises(DialectError, match="no chat template"):
        TemplateProcess({})
    with pytest.raises(DialectError, match="has 500,001 characters, more than the 500,000 that are read"):
        TemplateProcess({"chat_template": "x" * 500_001})


def test_templates_without_a_usable_name_are_passed_over() -> None:
    entries = [{"name": ["x"], "template": "a"}, {"name": "default", "template": "b"}, "c"]
    assert template_of({"chat_template": entries}) == "b"
