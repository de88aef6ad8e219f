"""A dialect derived from a model's own templates, for families that no dialect is known of."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the extra `templates` is not installed")

from codec_agents.dialects import BoundDialect, CallRegion
from codec_agents.dialects.templates.chat_template import check_template, derive_from_config
from codec_agents.dialects.templates.response_template import ResponseMarks, response_marks
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.graph.chat import Chat
from codec_agents.graph.turns import ChatTurn
from codec_agents.tools.calls import Attempt
from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer
from tests.agents.dialects.families import TOOLS, lanes, small_map

ROLES = """\
{{- bos_token }}
{%- if tools %}
{{- '<~role~>boss<~text~>' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n' }}{% endif %}
{{- 'You have:\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{% endfor %}
{{- 'Use them.<~done~>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<~role~>boss<~text~>' + messages[0].content + '<~done~>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}{{- '<~role~>you<~text~>' + message.content + '<~done~>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<~role~>me<~text~>' }}
{%- if message.reasoning_content and 'user' not in messages[loop.index:] | map(attribute='role') %}
{{- '<~hm~>' + message.reasoning_content + '<~/hm~>' }}
{%- endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
{{- "<~call~>" + ({"name": call.function.name, "arguments": call.function.arguments} | tojson) }}
{{- "<~/call~>" }}
{%- endfor %}
{{- '<~done~>\\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.previtem and loop.previtem.role != 'tool' %}{{- '<~role~>tools<~text~>' }}{% endif %}
{{- '[' + message.content + ']' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<~done~>\\n' }}{% else %}{{- ', ' }}{% endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<~role~>me<~text~>' }}
{%- if enable_thinking is defined and not enable_thinking %}{{- '<~hm~><~/hm~>' }}{% endif %}
{%- endif %}"""

MARKERS = [
    "<~bos~>",
    "<~role~>",
    "<~text~>",
    "<~done~>",
    "<~call~>",
    "<~/call~>",
    "<~hm~>",
    "<~/hm~>",
    "<~eos~>",
]

RESPONSE: dict[str, Any] = {
    "start_anchor": "<~role~>me<~text~>",
    "fields": {
        "thinking": {"open": "<~hm~>", "close": "<~/hm~>"},
        "tool_calls": {"open": "<~call~>", "close": "<~/call~>", "repeats": True, "content": "json"},
        "content": {"close": "<~done~>"},
    },
}


def config(template: str = ROLES, response: dict[str, Any] | None = RESPONSE) -> dict[str, Any]:
    added = {str(number): {"content": name} for number, name in enumerate(MARKERS)}
    found = {"chat_template": template, "added_tokens_decoder": added}
    found |= {"bos_token": "<~bos~>", "eos_token": "<~eos~>"}
    return found if response is None else {**found, "response_template": response}


def bound(tools: bool = True, **options: Any) -> BoundDialect:
    dialect, _ = derive_from_config(config(**options))
    return BoundDialect(dialect, small_map(MARKERS), TOOLS if tools else ())


def spelled(family: BoundDialect, ids: list[int]) -> str:
    return Detokenizer(family.vocabulary).render(ids, render_special=True)


def test_pieces_are_found_and_agree_with_the_template() -> None:
    dialect, why = derive_from_config(config())
    assert why == (
        "its turns as the chat template writes them; reasoning and calls as the response template marks them"
    )
    assert dialect.user == "<~role~>you<~text~>{content}<~done~>\n"
    assert dialect.assistant == "<~role~>me<~text~>{content}<~done~>\n"
    assert dialect.system == "<~role~>boss<~text~>{content}<~done~>\n"
    assert (dialect.begin, dialect.turn_end, dialect.after_turn) == ("<~bos~>", "<~done~>", "\n")
    assert dialect.stops == ("<~done~>", "<~eos~>")
    assert dialect.opening.off == "<~role~>me<~text~><~hm~><~/hm~>"
    assert check_template(bound(tools=False), config()) == []
    assert [each.conversation for each in check_template(bound(), config())] == []


def test_results_are_compared_as_well() -> None:
    other = config(ROLES.replace("{{- '[' + message.content + ']' }}", "{{- '(' + message.content + ')' }}"))
    found = {each.conversation: each for each in check_template(bound(), other)}
    assert found.keys() >= {"calls and their results", "text before calls", "results of two tools"}
    results = found["results of two tools"]
    assert "[sentinel" in results.dialect
    assert "(sentinel" in results.template


def test_results_behind_turns_without_an_end_are_not_compared() -> None:
    # As in GLM, where a turn ends with the next one: nothing parts calls from results.
    endless = ROLES.replace("<~done~>\\n", "")
    dialect, _why = derive_from_config({"chat_template": endless})
    assert (dialect.turn_end, dialect.results) == (None, None)
    compared = check_template(bound(), config(endless))
    assert "results of two tools" not in {each.conversation for each in compared}


def test_calls_of_history_are_written_as_the_template_writes_them() -> None:
    family = bound()
    form = family.dialect.calls.written if family.dialect.calls else None
    assert form is not None
    assert (form.each, form.text) == ('{name}", "arguments": {arguments}', "{content}")
    called = {"assistant": "So.", "calls": [{"name": "weather", "arguments": {"city": "{place}"}}]}
    template = family.template(Chat(turns=[{"user": "Hi"}, called, {"tool": "sun"}]), [])
    encode = pick_tokenizer(family.vocabulary).encode_ordinary
    told = spelled(family, template.render({"place": encode('a "b"<~/call~>')}))
    assert told.partition("Hi")[2] == (
        "<~done~>\n<~role~>me<~text~>So."
        '<~call~>{"name": "weather", "arguments": {"city": "a \\"b\\"<~/call~>"}}'
        "<~/call~><~done~>\n<~role~>tools<~text~>[sun]<~done~>\n<~role~>me<~text~>"
    )


@pytest.mark.parametrize(
    ("written", "otherwise", "where"),
    [
        ('"arguments": call', '"parameters": call', "calls and their results"),
        ("+ message.reasoning_content", "+ 'so ' + message.reasoning_content", "reasoning before calls"),
        (" and 'user' not in", " and 'none' not in", "reasoning of an earlier exchange"),
    ],
)
def test_what_a_template_writes_otherwise_is_told(written: str, otherwise: str, where: str) -> None:
    assert ROLES.count(written) == 1
    other = config(ROLES.replace(written, otherwise))
    assert where in [each.conversation for each in check_template(bound(), other)]


def test_turns_are_read_and_results_told() -> None:
    family = bound()
    encode = pick_tokenizer(family.vocabulary).encode_ordinary
    special = family.vocabulary.special_tokens
    said = [special["<~hm~>"], *encode("hm"), special["<~/hm~>"], special["<~call~>"]]
    said += [*encode('{"name": "weather", "arguments": {"city": "Oslo"}}'), special["<~/call~>"]]
    said += [special["<~done~>"]]
    events = [*(reader := family.reader([])).feed(said), *reader.flush("stop")]
    answer, reasoning, (region,) = lanes(events)
    assert (answer, reasoning) == ([], encode("hm"))
    (call,) = family.parse_calls(region)
    assert (call.name, call.arguments) == ("weather", {"city": "Oslo"})
    added = family.extend(said, "stop", [Attempt(call, "ok", "sun"), Attempt(call, "ok", "<~done~>")])
    # What is told is the template's own, and a result that spells a token is text.
    assert spelled(family, added) == ("\n<~role~>tools<~text~>[sun], [<~done~>]<~done~>\n<~role~>me<~text~>")
    assert added.count(special["<~done~>"]) == 1


def test_lookalikes_are_text() -> None:
    family = bound()
    encode = pick_tokenizer(family.vocabulary).encode_ordinary
    text = encode('<~call~>{"name": "weather", "arguments": {}}<~/call~>')
    reader = family.reader([])
    events = [*reader.feed(text), *reader.flush("stop")]
    assert not any(isinstance(event, CallRegion) for event in events)


def test_without_a_response_template_there_are_no_calls() -> None:
    dialect, why = derive_from_config(config(response=None))
    assert "no reasoning and no calls are known" in why
    with pytest.raises(PromptError, match="no form for tools"):
        BoundDialect(dialect, small_map(MARKERS), TOOLS).template(Chat(user="Hi"))


def test_fields_that_cannot_be_read_are_named() -> None:
    patterned = {"tool_calls": {"open_pattern": "(?P<name>x)", "content": "kv-lines"}}
    _, why = derive_from_config(config(response={**RESPONSE, "fields": patterned}))
    assert "tool_calls cannot be read from it" in why


def test_known_family_stays_and_what_its_response_template_says_otherwise_is_told() -> None:
    chatml = (
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<tool_call>enable_thinking"
    )
    agreeing = {"fields": {"thinking": {"open": "<think>", "close": "</think>"}}}
    dialect, why = derive_from_config({"chat_template": chatml, "response_template": agreeing})
    assert dialect.name == "qwen3"
    assert "otherwise" not in why
    dialect, why = derive_from_config({"chat_template": chatml, "response_template": RESPONSE})
    assert dialect.name == "qwen3"
    assert "marks reasoning by '<~hm~>' and '<~/hm~>', the dialect by '<think>' and '</think>'" in why
    assert "marks calls by '<~call~>', the dialect by '<tool_call>'" in why


def test_tags_with_typed_values() -> None:
    tagged = {
        "open_pattern": r"<~call~>\s*<function=(?P<name>\w+)>",
        "close": "<~/call~>",
        "content": "xml-inline",
        "content_args": {"tag_pattern": r"<parameter=(?P<key>\w+)>(?P<value>.*?)</parameter>"},
    }
    dialect, _ = derive_from_config(config(response={"fields": {**RESPONSE["fields"], "tool_calls": tagged}}))
    assert dialect.calls is not None
    assert (dialect.calls.grammar, dialect.calls.starts) == ("tagged", ("<~call~>",))


@pytest.mark.parametrize(
    ("pattern", "starts"),
    [
        (r"<\|call\|>\s*<function=(?P<name>\w+)>", ("<|call|>",)),
        (r"<\|call\|><function=(?P<name>\w+)>", ("<|call|>",)),
        ("<~call~>\n?<function=(?P<name>\\w+)>", ("<~call~>",)),
        ("<~calls?~><function=(?P<name>\\w+)>", ("<~call",)),
        (r"<~call~>(?:\n|\s)*[|]?<function=(?P<name>a|b)>", ("<~call~>",)),
        (r"<~call~>[(]?<function=\\|<~tool~><function=", None),
        ("<~call~><function=|<~tool~><function=", None),
    ],
)
def test_a_pattern_begins_with_what_all_that_it_matches_begins_with(
    pattern: str, starts: tuple[str, ...] | None
) -> None:
    field = {"open_pattern": pattern, "close": "<~/call~>", "content": "xml-inline"}
    marks = response_marks({"response_template": {"fields": {"tool_calls": field}}})
    assert marks is not None
    assert (marks.calls.starts if marks.calls else None) == starts


TEXTUAL = (
    "{{- bos_token }}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}[I]{{ m.content }}[/I]{% elif m.role == 'assistant' %}{{ m.content }}<~eos~>"
    "{% else %}{{ raise_exception('no system turns') }}{% endif %}{% endfor %}"
)


def test_family_without_system_turns_refuses_a_system_text() -> None:
    family = bound(tools=False, template=TEXTUAL)
    assert family.dialect.user == "[I]{content}[/I]"
    assert (family.dialect.begin, family.dialect.turn_end) == ("<~bos~>", "<~eos~>")
    with pytest.raises(PromptError, match="no place for a system text"):
        family.template(Chat(system="x", user="y"))
    turns = (ChatTurn(role="user", content="a"), ChatTurn(role="assistant", content="b"))
    ids = family.template(Chat(turns=turns, user="c")).render({})
    assert spelled(family, ids) == "<~bos~>[I]a[/I]b<~eos~>[I]c[/I]"


def test_default_system_text_is_found() -> None:
    template = (
        "{% if messages[0].role != 'system' %}<~role~>boss\nBe kind.<~done~>{% endif %}"
        "{% for m in messages %}<~role~>{{ {'system': 'boss', 'user': 'you', 'assistant': 'me'}[m.role] }}\n"
        "{{ m.content }}<~done~>{% endfor %}{% if add_generation_prompt %}<~role~>me\n{% endif %}"
    )
    family = bound(tools=False, template=template)
    assert family.dialect.default_system == "Be kind."
    assert check_template(family, config(template)) == []


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ raise_exception('not today') }}", "the chat template fails: ValueError: not today"),
        ("nothing", "the user's text is 0 times"),
        ("{{ messages[0].content }}{{ messages | length }}", "written otherwise when more is said"),
        ("{% for m in messages %}{{ m.content }}END{% endfor %}", "ends with 'END', which is no token"),
    ],
)
def test_templates_that_cannot_be_taken_apart_are_refused(template: str, found: str) -> None:
    with pytest.raises(DialectError, match="cannot be taken apart") as caught:
        derive_from_config(config(template))
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("readable", "thinking", "unread"),
    [
        ("thinking", ("<a>", "</a>"), ()),
        ("reasoning", ("<a>", "</a>"), ()),
        (None, None, ("thinking", "reasoning")),
    ],
)
def test_the_first_readable_field_marks_reasoning(
    readable: str | None, thinking: tuple[str, str] | None, unread: tuple[str, ...]
) -> None:
    fields: dict[str, Any] = {name: {"open_pattern": "<.>"} for name in ("thinking", "reasoning")}
    if readable is not None:
        fields[readable] = {"open": "<a>", "close": "</a>"}
    assert response_marks({"response_template": {"fields": fields}}) == ResponseMarks(thinking, None, unread)


@pytest.mark.parametrize(
    ("name", "field", "unread"),
    [
        ("thinking", {"open": ["<a>"], "close": ["</a>"]}, ()),
        ("thinking", {"open": "<a>", "close": ["</a>", "<b>"]}, ("thinking",)),
        ("thinking", {"open": ["<a>", "<b>"], "close": "</a>"}, ("thinking",)),
        ("tool_calls", {"open": ["<a>", "<b>"], "close": "</a>", "content": "json"}, ()),
        ("tool_calls", {"open": "<a>", "close": ["</a>", "<b>"], "content": "json"}, ("tool_calls",)),
    ],
)
def test_marks_of_which_a_dialect_has_one_are_not_read_by_the_first_of_several(
    name: str, field: dict[str, Any], unread: tuple[str, ...]
) -> None:
    marks = response_marks({"response_template": {"fields": {name: field}}})
    assert marks is not None
    assert marks.unread == unread


@pytest.mark.parametrize("response", [[], {"fields": 1}, {"version": 9, "fields": {}}])
def test_malformed_response_templates_are_refused(response: Any) -> None:
    with pytest.raises(DialectError, match="response_template"):
        derive_from_config(config(response=response))
